"""What an agent does for its cell, over RPC."""

import logging
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import oslo_messaging

from cells import arguments, context, exceptions, rpc, versions
from cells.host.store import Store

LOG = logging.getLogger(__name__)

#: Seconds that a power command is waited for; one that takes longer goes on by itself.
POWER_SECONDS: Final = 10.0

POWER_ACTIONS: Final = ('startup', 'shutdown', 'reboot')


class AgentManager:
    """The RPC endpoint of an agent.

    :param uptime: tells how long the machine has been running.
    :param power_commands: by action; what is not in it is refused.
    :param on_change: called when a flag of the host has changed.
    """

    target = oslo_messaging.Target(version=versions.AGENT_VERSION)

    def __init__(
        self,
        *,
        host: str,
        store: Store,
        uptime: Callable[[], str],
        power_commands: Mapping[str, Sequence[str]],
        on_change: Callable[[], None],
    ) -> None:
        self._host = host
        self._store = store
        self._uptime = uptime
        self._power_commands = power_commands
        self._on_change = on_change

    @rpc.served
    def ping(self, ctxt: context.RequestContext) -> str:
        """Return the name of the host."""
        return self._host

    @rpc.served
    def get_host_uptime(self, ctxt: context.RequestContext) -> str:
        """Return how long the machine has been running."""
        return self._uptime()

    @rpc.served
    def set_host_enabled(
        self, ctxt: context.RequestContext, enabled: object, op_id: object = None
    ) -> str:
        """Let the host take new instances, or no more; return ``enabled`` or ``disabled``.

        :raises Invalid: ``enabled`` is not true or false.
        """
        on = _boolean('enabled', enabled)
        self._store.set_enabled(on)
        LOG.info('Host %s is %s', self._host, 'enabled' if on else 'disabled')
        self._on_change()
        return 'enabled' if on else 'disabled'

    @rpc.served
    def host_maintenance_mode(
        self, ctxt: context.RequestContext, mode: object, op_id: object = None
    ) -> str:
        """Begin or end maintenance; return ``on_maintenance`` or ``off_maintenance``.

        :raises Invalid: ``mode`` is not true or false.
        """
        on = _boolean('mode', mode)
        self._store.set_maintenance(on)
        LOG.info('Host %s is %s maintenance', self._host, 'in' if on else 'out of')
        self._on_change()
        return 'on_maintenance' if on else 'off_maintenance'

    @rpc.served
    def host_power_action(
        self, ctxt: context.RequestContext, action: object, op_id: object = None
    ) -> str:
        """Run the command that the operator has set for an action, once for each ``op_id``.

        :returns: the action, when its command has succeeded or still runs.
        :raises Invalid: there is no such action, or no command for it, or it failed.
        """
        if not isinstance(action, str) or action not in POWER_ACTIONS:
            raise exceptions.Invalid(
                reason='action is %.80s, not one of %s' % (ascii(action), ', '.join(POWER_ACTIONS))
            )
        command = self._power_commands.get(action)
        if not command:
            raise exceptions.Invalid(
                reason='no command for %s is set on host %s: [compute] power_commands'
                % (action, self._host)
            )
        if op_id is None:
            self._run(action, command)
            return action
        operation = arguments.text('op_id', op_id)
        if not self._store.operation_begin(operation):
            return self._store.operation_result(operation) or action
        try:
            self._run(action, command)
        except exceptions.Invalid:
            self._store.operation_forget(operation)
            raise
        self._store.operation_end(operation, action)
        return action

    def _run(self, action: str, command: Sequence[str]) -> None:
        LOG.warning('Host %s: %s was ordered, running %s', self._host, action, command[0])
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            code = process.wait(POWER_SECONDS)
        except subprocess.TimeoutExpired:
            return
        except OSError as error:
            raise exceptions.Invalid(
                reason='the command for %s on host %s cannot be run: %s'
                % (action, self._host, error)
            ) from None
        if code:
            raise exceptions.Invalid(
                reason='the command for %s on host %s ended with code %d'
                % (action, self._host, code)
            )

    @rpc.served
    def validate_console_port(
        self,
        ctxt: context.RequestContext,
        instance_uuid: object,
        console_port: object,
        console_type: object,
    ) -> bool:
        """Tell whether a port is that of the console of an instance."""
        found = self._store.console_port(
            arguments.text('instance_uuid', instance_uuid),
            arguments.text('console_type', console_type),
        )
        return found is not None and str(found) == str(console_port)


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise exceptions.Invalid(reason='%s is %.80s, not true or false' % (name, ascii(value)))
    return value
