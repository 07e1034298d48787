"""What an agent does for its cell with the instances on its host, over RPC."""

import re
import uuid
from typing import Any, Final

import oslo_messaging

from cells import arguments, context, exceptions, rpc, versions
from cells.host.acceptance import Acceptance
from cells.host.store import Store
from cells.host.virt import base

#: Kind of console -> the types that it has.
CONSOLES: Final = {
    'vnc': ('novnc', 'xvpvnc'),
    'spice': ('spice-html5',),
    'rdp': ('rdp-html5',),
    'serial': ('serial',),
}
_DIGITS: Final = re.compile(r'[0-9]{1,9}')


class InstanceEndpoint:
    """Accepts operations, and answers what is asked of an instance directly."""

    target = oslo_messaging.Target(version=versions.AGENT_VERSION)

    def __init__(self, *, store: Store, driver: base.VirtDriver, acceptance: Acceptance) -> None:
        self._store = store
        self._driver = driver
        self._acceptance = acceptance

    @rpc.served
    def accept(
        self,
        ctxt: context.RequestContext,
        op_id: object,
        operation: object,
        instance: object,
        args: object,
        deadline: object,
    ) -> dict[str, bool]:
        """Take an order; what came of it is told by ``done``. A repeat changes nothing.

        :param operation: which one, a name in ``cells.host.methods``.
        :param operation: its method; oslo.messaging has that name for itself.
        :raises ComputeResourcesUnavailable: the instance has no room here.
        :raises Invalid: there is no such operation, or a value cannot be one.
        """
        self._acceptance.accept(op_id, operation, instance, args, deadline, ctxt.request_id)
        return {'accepted': True}

    @rpc.served
    def get_diagnostics(
        self, ctxt: context.RequestContext, instance_uuid: object
    ) -> dict[str, Any]:
        """Return counters of a machine, as its driver names them.

        :raises InstanceNotFound: it is not on this host.
        :raises InstanceInvalidState: it does not run.
        """
        return self._driver.diagnostics(_uuid(instance_uuid))

    @rpc.served
    def get_instance_diagnostics(
        self, ctxt: context.RequestContext, instance_uuid: object
    ) -> dict[str, Any]:
        """Return counters of a machine, named as for every driver; raises as above."""
        return self._driver.instance_diagnostics(_uuid(instance_uuid))

    @rpc.served
    def get_console_output(
        self, ctxt: context.RequestContext, instance_uuid: object, tail_length: object = None
    ) -> str:
        """Return the last lines of the console of a machine.

        :param tail_length: how many, also as text; None or -1 for all.
        :raises InstanceNotFound: it is not on this host.
        """
        return self._driver.console_output(_uuid(instance_uuid), _lines(tail_length))

    @rpc.served
    def get_vnc_console(
        self, ctxt: context.RequestContext, instance_uuid: object, console_type: object
    ) -> dict[str, Any]:
        """Return where a console is: token, host, port, internal_access_path, access_url.

        :raises InstanceNotFound: it is not on this host.
        :raises InstanceNotReady: it is off.
        :raises ConsoleTypeInvalid: there is no such console.
        """
        return self._console('vnc', instance_uuid, console_type)

    @rpc.served
    def get_spice_console(
        self, ctxt: context.RequestContext, instance_uuid: object, console_type: object
    ) -> dict[str, Any]:
        """Return where a console is, see :meth:`get_vnc_console`."""
        return self._console('spice', instance_uuid, console_type)

    @rpc.served
    def get_rdp_console(
        self, ctxt: context.RequestContext, instance_uuid: object, console_type: object
    ) -> dict[str, Any]:
        """Return where a console is, see :meth:`get_vnc_console`."""
        return self._console('rdp', instance_uuid, console_type)

    @rpc.served
    def get_serial_console(
        self, ctxt: context.RequestContext, instance_uuid: object, console_type: object
    ) -> dict[str, Any]:
        """Return where a console is, see :meth:`get_vnc_console`."""
        return self._console('serial', instance_uuid, console_type)

    def _console(self, kind: str, instance_uuid: object, console_type: object) -> dict[str, Any]:
        uuid_ = _uuid(instance_uuid)
        wanted = arguments.text('console_type', console_type)
        if wanted not in CONSOLES[kind]:
            raise exceptions.ConsoleTypeInvalid(console_type=wanted)
        token = str(uuid.uuid4())
        found = self._driver.console(uuid_, wanted, token)
        self._store.console_put(uuid_, wanted, found.port)
        return {
            'token': token,
            'host': found.host,
            'port': found.port,
            'internal_access_path': found.internal_access_path,
            'access_url': found.access_url,
        }

    @rpc.served
    def reserve_block_device_name(
        self,
        ctxt: context.RequestContext,
        instance_uuid: object,
        device: object = None,
        volume_id: object = None,
    ) -> str:
        """Return the name under which a volume is going to be attached, such as ``/dev/vdb``.

        :param device: the name that is wanted, None for the next free one.
        :raises InstanceNotFound: it is not on this host.
        :raises InvalidDevicePath: it is no name of a disk.
        :raises DevicePathInUse: another disk of the instance has it.
        """
        return self._driver.reserve_device(
            _uuid(instance_uuid),
            None if device is None else arguments.text('device', device, empty=True),
            arguments.text('volume_id', volume_id),
        )


def _uuid(value: object) -> str:
    return arguments.text('instance_uuid', value)


def _lines(value: object) -> int | None:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if value is None or value in (-1, '-1'):
        return None
    return arguments.number('tail_length', value)
