"""What is asked of the host of an instance while a caller waits: diagnostics and consoles.

Nothing is asked within a transaction: the action checks, and its answer comes later
(:class:`cells.dispatch.Later`).
"""

from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, dispatch, exceptions
from cells.compute import states
from cells.compute.actions import Action, Request
from cells.db import console_tokens, engine
from cells.db import instances as db_instances

#: Seconds for which a console may be opened with a token.
TOKEN_SECONDS: Final = 600.0
MOST_LINES: Final = 10_000_000


def _ask(request: Request, method: str, **args: Any) -> dispatch.Later:
    """Return what asks the agent about the instance."""
    means, ctxt, host, uuid = request.means, request.ctxt, request.host(), request.instance.uuid
    return dispatch.Later(lambda: means.call(ctxt, host, method, instance_uuid=uuid, **args))


# -- diagnostics --


def _diagnostics(name: str) -> Action:
    def perform(request: Request) -> dispatch.Later:
        later = _ask(request, name)
        if request.instance.power_state != states.RUNNING:
            raise request.wrong('power_state')
        return later

    return Action(name, perform=perform, policy='compute:%s' % name)


# -- consoles --


def _output_arguments(tail_length: object = None) -> dict[str, Any]:
    if isinstance(tail_length, str) and tail_length.isascii() and tail_length.isdigit():
        tail_length = int(tail_length[:20])
    if tail_length is not None:
        # nova's users say -1 for all.
        tail_length = arguments.number('tail_length', tail_length, least=-1, most=MOST_LINES)
    return {'tail_length': None if tail_length == -1 else tail_length}


def _output(request: Request, tail_length: int | None) -> dispatch.Later:
    return _ask(request, 'get_console_output', tail_length=tail_length)


def _type_arguments(console_type: object) -> dict[str, Any]:
    return {'console_type': arguments.text('console_type', console_type)}


def _connect_info(name: str, method: str) -> Action:
    def perform(request: Request, console_type: str) -> dispatch.Later:
        later = _ask(request, method, console_type=console_type)
        database, uuid, host = request.means.database, request.instance.uuid, request.host()

        def answer() -> dict[str, Any]:
            found = arguments.mapping('what the agent answered', later.answer())
            if database is not None:
                _note(database, uuid, host, console_type, found)
            return found

        return dispatch.Later(answer)

    return Action(name, perform=perform, accepts=_type_arguments, host=True)


def _note(
    database: engine.Database, uuid: str, host: str, console_type: str, info: Mapping[str, Any]
) -> None:
    """Keep the right to a console, unless the instance has gone meanwhile (X5)."""
    token = arguments.text('token', info.get('token'))
    address = arguments.text('host', info.get('host'))
    port = arguments.port('port', info.get('port'))
    with database.write() as connection:
        instance = db_instances.instance_get(connection, uuid, lock=True)
        if instance.host != host or instance.task_state in states.DELETIONS:
            raise exceptions.InstanceNotReady(instance_id=uuid)
        console_tokens.token_create(
            connection, token, uuid, console_type, address, int(port), TOKEN_SECONDS
        )


_CONSOLES: Final[tuple[tuple[str, str], ...]] = (
    ('get_vnc_connect_info', 'get_vnc_console'),
    ('get_spice_connect_info', 'get_spice_console'),
    ('get_rdp_connect_info', 'get_rdp_console'),
    ('get_serial_console_connect_info', 'get_serial_console'),
)

ACTIONS: Final = (
    _diagnostics('get_diagnostics'),
    _diagnostics('get_instance_diagnostics'),
    Action(
        'get_console_output',
        perform=_output,
        accepts=_output_arguments,
        policy='compute:get_console_output',
        host=True,
    ),
    *(_connect_info(name, method) for name, method in _CONSOLES),
)
