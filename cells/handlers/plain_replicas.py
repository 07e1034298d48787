"""What plain cells tell of their instances, one message for each change (``*_at_top``).

They count nothing, so what comes late cannot be told from what is new. The ``state_rules`` of
``spec/intercell.json`` keep out the worst of it; what they keep out ends here, counted, as it
does in a nova-cells. One of our cells that has a plain one above it writes its count behind the
uuid of the message; then what is older than what is known does not count.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, exceptions, inconsistencies, messages, paths, placement, wire
from cells.db import instance_fields, instances, replicas
from cells.db.replicas import Record
from cells.handlers.plain_base import LONGEST_UUID, PlainHandlers
from cells.objects import plain
from cells.objects.instance import Instance

LOG = logging.getLogger(__name__)

#: What of an instance from below does not count here (``instance_update_at_top``).
NOT_TAKEN: Final = frozenset(
    (
        'cell_name',
        'created_at',
        'deleted',
        'deleted_at',
        'fault',
        'id',
        'metadata',
        'name',
        'security_groups',
        'services',
        'updated_at',
        'uuid',
        'volumes',
    )
)
#: Incoming state -> what the stored one must be.
VM_STATES: Final = {'building': ('building', None)}
TASK_STATES: Final = {
    'rebuild_block_device_mapping': ('rebuild_block_device_mapping', 'rebuilding'),
    'rebuild_spawning': ('rebuild_spawning', 'rebuild_block_device_mapping', 'rebuilding'),
    'resize_migrating': ('resize_migrating', 'resize_prep'),
    'resize_migrated': ('resize_migrated', 'resize_migrating', 'resize_prep'),
    'resize_finish': ('resize_finish', 'resize_migrated', 'resize_migrating', 'resize_prep'),
}


class PlainReplicaHandlers(PlainHandlers):
    """Takes over what plain cells tell; changes from the journal."""

    OPERATIONS: Final = (
        'instance_destroy_at_top',
        'instance_update_at_top',
    )

    def instance_update_at_top(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        **ignored: object,
    ) -> None:
        """Take over what has changed in an instance; all of it when nothing says what has.

        :param instance: an Instance, or of older releases its fields as a dictionary.
        :raises Invalid: it is neither.
        """
        given = _instance(instance)
        route = message.routing_path.backwards()
        record = replicas.records(connection, [given.uuid]).get(given.uuid)
        if record is None:
            self._create(connection, given, route)
            return
        if record.deleted:
            self._drop('gone')
            self._ownership.terminate(connection, record.uuid, route)
            return
        if not self._may(connection, 'instance_update_at_top', record, route):
            return
        values, fields = _changes(given)
        at = wire.count_of(message.uuid)
        if at is not None and at < record.at:
            self._drop('old')
        elif self._is_failed_build(connection, record, values, route):
            self._drop('build')  # the next cell is tried
        else:
            self._update(connection, record, given, values, fields, at, route)

    def _update(
        self,
        connection: sa.Connection,
        record: Record,
        given: Instance,
        values: dict[str, Any],
        fields: dict[str, Any],
        at: tuple[int, int] | None,
        route: paths.CellPath,
    ) -> None:
        values = {**values, 'inconsistent': None}
        if len(route) > 1:
            values['cell_name'] = str(route)
        elif 'cell_name' in given.obj_what_changed():
            values['cell_name'] = given.cell_name
        if at is not None:
            values['sync_epoch'], values['sync_seq'] = at
        try:
            instances.instance_update(
                connection, record.uuid, values, _expected(given), fields, sync=False
            )
        except exceptions.InstanceUpdateConflict as error:
            LOG.debug('An update of instance %s does not count: %s', record.uuid, error)
            self._drop('state')
            return
        self._applied()
        if len(route) > 1 and record.host is None and values.get('host') is not None:
            placement.plain_built(connection, record.uuid, route)

    def _is_failed_build(
        self,
        connection: sa.Connection,
        record: Record,
        values: Mapping[str, Any],
        route: paths.CellPath,
    ) -> bool:
        return (
            len(route) > 1
            and record.host is None
            and values.get('vm_state') == 'error'
            and values.get('host') is None
            and placement.plain_error(connection, record.uuid, route)
        )

    def _create(self, connection: sa.Connection, given: Instance, route: paths.CellPath) -> None:
        """Make the record that is missing, of all that is told (S3)."""
        if replicas.buried(connection, [given.uuid]):
            self._drop('gone')
            self._ownership.terminate(connection, given.uuid, route)
            return
        whole = {name for name, _ in given.items()}
        if 'project_id' not in whole or given.project_id is None:
            self._drop('missing')
            LOG.warning(
                'Cell %s tells of instance %s, of which there is no record and not enough is told '
                'to make one; "sync_instances" has it told',
                route,
                given.uuid,
            )
            return
        values, fields = _taken(given, whole)
        if 'created_at' in whole and given.created_at is not None:
            values['created_at'] = given.created_at
        if len(route) > 1:
            values['cell_name'] = str(route)
        elif 'cell_name' in whole:
            values['cell_name'] = given.cell_name
        metadata = given.metadata if 'metadata' in whole else None
        fields = {name: value for name, value in fields.items() if value is not None}
        instances.instance_create(
            connection, {'uuid': given.uuid, **values}, metadata=metadata, fields=fields
        )
        self._stats.count('replicas_restored')

    def instance_destroy_at_top(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance: object,
        **ignored: object,
    ) -> None:
        """Delete the record of an instance.

        One that comes with nothing but its uuid is what a cell says that did not find it: it may
        look in the wrong place, or be restored from an old backup. That counts only when the
        instance is being deleted; else the record is marked, and its cell asked (S4).

        :raises Invalid: it is no instance.
        """
        given = _instance(instance)
        route = message.routing_path.backwards()
        record = replicas.records(connection, [given.uuid]).get(given.uuid)
        if record is None or record.deleted:
            self._drop('gone')
            return
        if not self._may(connection, 'instance_destroy_at_top', record, route):
            return
        if {name for name, _ in given.items()} == {'uuid'}:
            inconsistencies.not_found(connection, record, route, self._stats)
            return
        instances.instance_destroy(connection, record.uuid, sync=False)
        self._applied()


def _instance(value: object) -> Instance:
    """Return an Instance; of older releases it is a dictionary.

    :raises Invalid: it is neither, or has no uuid.
    """
    if isinstance(value, Mapping):
        known = {name: one for name, one in value.items() if name in Instance.fields}
        try:
            value = plain.build('Instance', known)
        except (TypeError, ValueError, AttributeError) as error:
            raise exceptions.Invalid(reason='instance: %.200s' % ascii(str(error))) from None
    if not isinstance(value, Instance) or 'uuid' not in value:
        raise exceptions.Invalid(reason='instance is %.60s, not one with a uuid' % ascii(value))
    arguments.text('instance.uuid', value.uuid, longest=LONGEST_UUID)
    return value


def _changes(given: Instance) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what has changed: by column, and what is no column."""
    whole = {name for name, _ in given.items()}
    return _taken(given, (given.obj_what_changed() & whole) or whole)


def _taken(given: Instance, names: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    wanted = names - NOT_TAKEN
    values = {name: getattr(given, name) for name in wanted if name in instances.STATE_COLUMNS}
    fields = {name: getattr(given, name) for name in wanted if name in instance_fields.NAMES}
    return values, fields


def _expected(given: Instance) -> dict[str, Any]:
    expected = {}
    for name, rules in (('vm_state', VM_STATES), ('task_state', TASK_STATES)):
        allowed = rules.get(getattr(given, name)) if name in given else None
        if allowed is not None:
            expected[name] = allowed
    return expected
