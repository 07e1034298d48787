"""What agents tell of the operations on their hosts: namespace ``cells.host``, since 1.1.

All of it is told again until it is answered, so repetitions are no errors.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import oslo_messaging
import sqlalchemy as sa

from cells import arguments, context, exceptions, rpc, versions
from cells.compute import host_ops, host_outcomes, reconciling, states
from cells.db import engine, models, services

#: What a machine may be said to do (``spec/compute_api.json``, ``power_states``).
POWER_STATES: Final = (0, 1, 3, 4, 6, 7)
LONGEST_ERROR: Final = 10_000
LONGEST_ID: Final = 64
MOST_OPERATIONS: Final = 10_000
MOST_INSTANCES: Final = 10_000
#: Seconds for which it is remembered which machine a host is.
REMEMBER_SECONDS: Final = 2.0
#: How often a transaction is done again that was in the way of another.
ATTEMPTS: Final = 5


class HostResultsEndpoint:
    """Takes what agents tell of operations.

    :param own_name: of this cell, for errors.
    :param power_sync: notes the power state that a host sees.
    :param on_change: called after a commit that may have ordered something.
    :param on_success: called instead when it was the end of something that went well, after
        which nothing is to be placed.
    """

    target = oslo_messaging.Target(namespace=versions.HOST_NAMESPACE, version=versions.HOST_VERSION)

    def __init__(
        self,
        *,
        database: engine.Database,
        own_name: str,
        outcomes: host_outcomes.HostOutcomes,
        power_sync: reconciling.PowerSync,
        on_change: Callable[[], None],
        on_success: Callable[[], None],
    ) -> None:
        self._database = database
        self._own_name = own_name
        self._outcomes = outcomes
        self._power_sync = power_sync
        self._on_change = on_change
        self._on_success = on_success
        self._machines: dict[str, tuple[str, float]] = {}

    @rpc.served
    def done(
        self,
        ctxt: context.RequestContext,
        host: object,
        machine_id: object,
        op_id: object,
        result: object,
    ) -> None:
        """Take what came of an operation; what is not known is taken as well.

        :param result: ``ok``, ``power_state``, ``values``, and ``error`` with ``type`` and
            ``message``.
        :raises HostNameInUse: another machine is the host.
        :raises Invalid: a value cannot be one, or the operation is one of another host.
        :raises DatabaseUnavailable: the database of this cell does not answer.
        """
        name, machine = _host(host), arguments.text('machine_id', machine_id, longest=64)
        op = arguments.text('op_id', op_id, longest=LONGEST_ID)
        outcome = outcome_of(result)
        with self._using_database():
            self._check_machine(name, machine)
            if self._outcomes.end(op, outcome, name):
                (self._on_success if outcome.ok else self._on_change)()

    @rpc.served
    def progress(
        self,
        ctxt: context.RequestContext,
        host: object,
        op_id: object,
        task_state: object,
        progress: object = None,
    ) -> None:
        """Take how far an operation is; what is over, or not known, is dropped.

        :param progress: percent; None when that cannot be said.
        :raises Invalid: a value cannot be one.
        :raises DatabaseUnavailable: the database of this cell does not answer.
        """
        name, op = _host(host), arguments.text('op_id', op_id, longest=LONGEST_ID)
        state = arguments.word('task_state', task_state, states.TASK_STATES)
        percent = None if progress is None else arguments.number('progress', progress, most=100)

        def note(connection: sa.Connection) -> bool:
            return self._outcomes.progress(connection, op, name, state, percent)

        with self._using_database():
            if self._undisturbed(note):
                self._on_success()

    @rpc.served
    def reconcile(
        self,
        ctxt: context.RequestContext,
        host: object,
        machine_id: object,
        operations: object,
        instances: object,
    ) -> dict[str, list[str]]:
        """Compare what an agent has with what is known here.

        :param operations: ids of those that it has accepted and has not told the end of.
        :param instances: power states by uuid, of all that is on the host.
        :returns: ``cancel``: operations that are not to be begun; ``destroy``: instances that
            do not belong there.
        :raises HostNameInUse: another machine is the host.
        :raises Invalid: a value cannot be one.
        :raises DatabaseUnavailable: the database of this cell does not answer.
        """
        name, machine = _host(host), arguments.text('machine_id', machine_id, longest=64)
        op_ids = _op_ids(operations)
        found = _power_states(instances)

        def compare(connection: sa.Connection) -> dict[str, list[str]]:
            return reconciling.reconcile(connection, name, op_ids, found, self._power_sync)

        with self._using_database():
            self._check_machine(name, machine)
            answer: dict[str, list[str]] = self._undisturbed(compare)
        self._on_change()
        return answer

    def _check_machine(self, host: str, machine_id: str) -> None:
        known, until = self._machines.get(host, (None, 0.0))
        if known == machine_id and time.monotonic() < until:
            return
        service = services.service_find(self._database, host)
        if service is None:
            raise exceptions.ComputeHostNotFound(host=host)
        if service['machine_id'] not in (None, machine_id):
            seen = service['last_seen_up']
            silent = (models.utcnow() - seen).total_seconds() if seen else 0
            raise exceptions.HostNameInUse(host=host, seconds=max(0, round(silent)))
        self._machines[host] = machine_id, time.monotonic() + REMEMBER_SECONDS

    def _undisturbed(self, work: Callable[[sa.Connection], Any]) -> Any:
        for left in reversed(range(ATTEMPTS)):
            try:
                with self._database.write() as connection:
                    return work(connection)
            except engine.ERRORS as error:
                if not left or not engine.is_deadlock(error):
                    raise
        return None

    @contextlib.contextmanager
    def _using_database(self) -> Iterator[None]:
        try:
            yield
        except engine.ERRORS as error:
            if not engine.is_transient(error):
                raise
            raise exceptions.DatabaseUnavailable(cell_name=self._own_name) from None


# -- what is told --


def outcome_of(result: object) -> host_ops.Outcome:
    """Return the outcome that an agent tells.

    :raises Invalid: it cannot be one; the text names the value.
    """
    given = arguments.mapping('result', result)
    ok = arguments.boolean('result.ok', given.get('ok'))
    power_state = given.get('power_state')
    if power_state is not None:
        power_state = _power_state('result.power_state', power_state)
    values = given.get('values')
    found = {} if values is None else arguments.mapping('result.values', values)
    for name, check in _VALUES.items():
        if name in found:
            found[name] = check('result.values.%s' % name, found[name])
    if ok:
        return host_ops.Outcome(True, power_state, found)
    error = arguments.mapping('result.error', given.get('error'))
    return host_ops.Outcome(
        False,
        power_state,
        found,
        arguments.text('result.error.type', error.get('type')),
        _storable('result.error.message', error.get('message')),
    )


def _host(value: object) -> str:
    return arguments.text('host', value)


def _power_state(name: str, value: object) -> int:
    number = arguments.number(name, value)
    if number not in POWER_STATES:
        raise exceptions.Invalid(
            reason='%s is %d, not one of %s' % (name, number, ', '.join(map(str, POWER_STATES)))
        )
    return number


def _power_states(value: object) -> dict[str, int]:
    given = arguments.mapping('instances', value)
    if len(given) > MOST_INSTANCES:
        raise exceptions.Invalid(
            reason='instances are %d, at most %d are allowed' % (len(given), MOST_INSTANCES)
        )
    return {
        arguments.text('a key of instances', uuid, longest=36): _power_state(
            'instances[%.40r]' % uuid, state
        )
        for uuid, state in given.items()
    }


def _op_ids(value: object) -> set[str]:
    given = arguments.sequence('operations', value)
    if len(given) > MOST_OPERATIONS:
        raise exceptions.Invalid(
            reason='operations are %d, at most %d are allowed' % (len(given), MOST_OPERATIONS)
        )
    return {arguments.text('one of operations', one, longest=LONGEST_ID) for one in given}


def _storable(name: str, value: object) -> str:
    """Return what an error says as far as it can be stored; it may be anything."""
    if not isinstance(value, str):
        raise exceptions.Invalid(reason='%s is %.60s, not a text' % (name, ascii(value)))
    whole = value.encode('utf-8', 'backslashreplace').decode().replace('\0', '\\x00')
    return whole[:LONGEST_ERROR]


def _vifs(name: str, value: object) -> list[dict[str, Any]]:
    return [arguments.mapping('one of %s' % name, one) for one in arguments.sequence(name, value)]


def _texts(name: str, value: object) -> list[str]:
    return [arguments.text('one of %s' % name, one) for one in arguments.sequence(name, value)]


def _text_or_null(name: str, value: object) -> str | None:
    return None if value is None else arguments.text(name, value)


#: Value of a result -> what makes it one that can be stored; others are as they come.
_VALUES: Final[Mapping[str, Callable[[str, object], Any]]] = {
    'network_info': _vifs,
    'node': _text_or_null,
    'device': _text_or_null,
    'deleted_images': _texts,
}
