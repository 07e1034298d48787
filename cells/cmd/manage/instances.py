"""``instance list`` and ``instance show``: what the database of this cell knows of instances."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions, paths
from cells.cmd.manage import base, neighbours, shown, tree
from cells.compute import states
from cells.db import faults, histories, instance_actions, instance_listing, instances_shown
from cells.db.instance_listing import Filters

COLUMNS: Final[dict[str, str]] = {
    'UUID': 'uuid',
    'Name': 'display_name',
    'Project': 'project_id',
    'State': 'vm_state',
    'Task': 'task_state',
    'Cell': 'cell_name',
    'Host': 'host',
    'Updated': 'updated_at',
}
#: Columns of an instance that are shown: nothing in which users keep secrets.
SHOWN: Final = (
    'uuid',
    'display_name',
    'project_id',
    'user_id',
    'vm_state',
    'task_state',
    'power_state',
    'cell_name',
    'host',
    'node',
    'availability_zone',
    'memory_mb',
    'vcpus',
    'root_gb',
    'ephemeral_gb',
    'image_ref',
    'locked',
    'created_at',
    'launched_at',
    'updated_at',
    'deleted_at',
    'deleted',
    'inconsistent',
)
MOST: Final = 10_000
LONGEST_UUID: Final = 36


class List(base.Lister):
    """List the instances of this cell; at the top, the records of all cells.

    It reads the database of this cell, and works with everything else away. The newest come
    first.

    Example: nova-cells-manage --config-file api.conf instance list --cell api!region-1 \\
    --state error
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the filters."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--project', metavar='ID')
        parser.add_argument('--user', metavar='ID')
        parser.add_argument('--state', choices=states.VM_STATES, help='its vm_state')
        parser.add_argument('--task', metavar='TASK_STATE', help='"none" for none')
        parser.add_argument('--host', metavar='NAME')
        parser.add_argument('--cell', metavar='PATH', help='such as api!region-1, and all below')
        parser.add_argument('--name', metavar='TEXT', help='a part of the name')
        parser.add_argument('--deleted', action='store_true', help='only deleted ones')
        parser.add_argument(
            '--inconsistent', action='store_true', help='only records that do not fit their cell'
        )
        parser.add_argument('--limit', type=int, default=100, help='(default %(default)s)')
        parser.add_argument('--marker', metavar='UUID', help='the last one of the page before')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        given = parsed_args
        if not 0 < given.limit <= MOST:
            raise exceptions.CellsError('--limit is %d, not from 1 to %d' % (given.limit, MOST))
        wanted = {
            'project_id': given.project,
            'user_id': given.user,
            'vm_state': given.state,
            'task_state': given.task,
            'host': given.host,
        }
        values: dict[str, tuple[Any, ...]] = {
            name: (value,) for name, value in wanted.items() if value is not None
        }
        if given.task == 'none':
            values['task_state'] = (None,)
        filters = Filters(
            values=values,
            cell_name=None if given.cell is None else check_path(given.cell),
            name=given.name,
            read_deleted='only' if given.deleted else 'no',
            inconsistent=given.inconsistent,
        )
        try:
            with self.app.database().read() as connection:
                rows = instance_listing.row_get_page(
                    connection, list(COLUMNS.values()), filters, given.limit + 1, given.marker
                )
        except exceptions.InstanceNotFound:
            raise exceptions.CellsError(
                '--marker is %s, of which there is no record' % given.marker
            ) from None
        if given.cell is not None and not rows:
            neighbours.check_path(self.app, str(filters.cell_name))
        if len(rows) > given.limit:
            last = rows[given.limit - 1]['uuid']
            self.app.stderr.write('There are more: go on with --marker %s\n' % last)
        return tuple(COLUMNS), [_line(row) for row in rows[: given.limit]]


def _line(row: dict[str, Any]) -> tuple[Any, ...]:
    shown_row = {**row, 'updated_at': _moment(row['updated_at'])}
    return tuple(shown_row[name] for name in COLUMNS.values())


def _moment(value: Any) -> shown.Moment:
    return shown.Moment(None if value is None else histories.seconds(value))


class Show(base.ShowOne):
    """Show what this cell knows of an instance: its state, what was done with it, what went wrong.

    It reads the database of this cell. What a user may keep secrets in is not shown.

    Example: nova-cells-manage --config-file api.conf instance show \\
    6b1d7f4e-6e8d-4c35-9a55-0e7f8b1d2c3a
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the argument."""
        parser = super().get_parser(prog_name)
        parser.add_argument('uuid')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Return names and values."""
        uuid = tree.check_id('instance', parsed_args.uuid, LONGEST_UUID)
        database = self.app.database()
        with database.read() as connection:
            row = instances_shown.columns_of(connection, uuid, SHOWN)
            if row is None:
                raise exceptions.CellsError(
                    'Cell %s knows no instance %s; "instance locate" asks all cells'
                    % (self.app.own_name, uuid)
                )
            found = {name: row[name] for name in SHOWN}
            found.update(_under_way(connection, uuid))
        for name in found:
            if name.endswith('_at'):
                found[name] = _moment(found[name])
        found['deleted'] = bool(found['deleted'])
        found['actions'] = shown.Rows(
            [
                {
                    'action': one['action'],
                    'request': one['request_id'],
                    'at': one['start_time'],
                    'end': one['finish_time'],
                    'result': one['message'],
                }
                for one in instance_actions.actions_get(database, uuid, 'yes')
            ]
        )
        found['faults'] = shown.Rows(
            [
                {'at': one['created_at'], 'code': one['code'], 'message': one['message']}
                for one in faults.fault_get_all(database, uuid, 'yes')
            ]
        )
        return tuple(found), tuple(found.values())


def _under_way(connection: sa.Connection, uuid: str) -> dict[str, Any]:
    """Return what is not at its end: told, ordered, done by a host."""
    found = instances_shown.under_way(connection, uuid)
    return {
        'not_told_above': found.marks,
        'in_journal': found.changes,
        'on_its_way_to': ', '.join(found.neighbours) or None,
        'being_done_by_host': ', '.join(found.operations) or None,
    }


def check_path(text: str) -> str:
    """Return a path of a cell as it is written in records.

    :raises CellsError: it is none.
    """
    try:
        return str(paths.CellPath.parse(text))
    except ValueError as error:
        raise exceptions.CellsError('cell %.60s: %s' % (text, error)) from None
