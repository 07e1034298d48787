"""Instances and what belongs to them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from oslo_utils import strutils

from cells import arguments, context, dispatch, exceptions, messages, times
from cells.compute import api as compute_api
from cells.compute.means import Means
from cells.db import console_tokens as db_console_tokens
from cells.db import engine
from cells.db import instance_actions as db_actions
from cells.db import instance_migrations as db_migrations
from cells.db import instances as db_instances
from cells.db import key_pairs as db_key_pairs
from cells.handlers import actions, base
from cells.objects import keypair, migration


class InstanceHandlers:
    """Answers questions on instances, and does with them what is ordered."""

    OPERATIONS: Final = (
        'action_events_get',
        'action_get_by_request_id',
        'actions_get',
        'consoleauth_delete_tokens',
        'get_keypair_at_top',
        'get_migrations',
        'run_compute_api_method',
        'validate_console_port',
    )

    def __init__(self, database: engine.Database, hosts: base.HostCaller, means: Means) -> None:
        self._database = database
        self._hosts = hosts
        self._means = means

    # -- what happened to an instance --

    def actions_get(
        self, ctxt: context.RequestContext, instance_uuid: object
    ) -> list[dict[str, Any]]:
        """Return the actions of an instance, newest first; of an unknown one there are none.

        :raises Invalid: the uuid is not a text.
        """
        uuid = arguments.text('instance_uuid', instance_uuid)
        return db_actions.actions_get(self._database, uuid, ctxt.read_deleted)

    def action_get_by_request_id(
        self, ctxt: context.RequestContext, instance_uuid: object, request_id: object
    ) -> dict[str, Any] | None:
        """Return the action of an instance that a request ordered, None when there is none.

        :raises Invalid: an id is not a text.
        """
        return db_actions.action_get_by_request_id(
            self._database,
            arguments.text('instance_uuid', instance_uuid),
            arguments.text('request_id', request_id),
            ctxt.read_deleted,
        )

    def action_events_get(
        self, ctxt: context.RequestContext, action_id: object
    ) -> list[dict[str, Any]]:
        """Return the steps of an action, newest first; of an unknown one there are none.

        :raises Invalid: the id is not a number.
        """
        number = arguments.number('action_id', action_id)
        return db_actions.action_events_get(self._database, number, ctxt.read_deleted)

    def get_migrations(
        self, ctxt: context.RequestContext, filters: object
    ) -> migration.MigrationList:
        """Return the migrations of this cell that all filters fit, newest first.

        :param filters: see :func:`migration_filters`.
        :raises Invalid: one of them is not known, or cannot be used.
        """
        return db_migrations.migrations_get(
            self._database, migration_filters(filters), ctxt.read_deleted
        )

    # -- keys and consoles --

    def get_keypair_at_top(
        self, ctxt: context.RequestContext, user_id: object, name: object
    ) -> keypair.KeyPair | None:
        """Return a key pair of a user, None when there is none.

        :raises Invalid: one of the two is not a text.
        """
        return db_key_pairs.key_pair_get(
            self._database, arguments.text('user_id', user_id), arguments.text('name', name)
        )

    def validate_console_port(
        self,
        ctxt: context.RequestContext,
        instance_uuid: object,
        console_port: object,
        console_type: object,
    ) -> bool:
        """Tell whether a port is that of the console of an instance, as its host sees it.

        :raises InstanceNotFound: this cell has no such instance. Nothing else follows from
            that: the record above may be the better one (S4).
        :raises InstanceNotReady: it is on no host.
        :raises Invalid: an argument cannot be one.
        """
        uuid = arguments.text('instance_uuid', instance_uuid)
        port = arguments.port('console_port', console_port)
        kind = arguments.text('console_type', console_type)
        with self._database.read() as connection:
            instance = db_instances.instance_get(connection, uuid)
        if not instance.host:
            raise exceptions.InstanceNotReady(instance_id=uuid)
        return bool(
            self._hosts.call(
                ctxt,
                instance.host,
                'validate_console_port',
                instance_uuid=uuid,
                console_port=port,
                console_type=kind,
            )
        )

    def consoleauth_delete_tokens(
        self, connection: sa.Connection, message: messages.Message, instance_uuid: object
    ) -> None:
        """Take all rights to the consoles of an instance away.

        :raises Invalid: the uuid is not a text.
        """
        uuid = arguments.text('instance_uuid', instance_uuid)
        db_console_tokens.tokens_delete(connection, uuid)

    # -- what is to be done --

    def run_compute_api_method(
        self, connection: sa.Connection, message: messages.Message, method_info: object
    ) -> Any:
        """Do something with an instance and return what came of it.

        :param method_info: ``method``, a name in :data:`cells.compute.api.METHODS`,
            ``method_args``, the uuid of the instance first, and ``method_kwargs``.
        :raises WireError: what :func:`cells.compute.api.run` raises.
        """
        info = arguments.mapping('method_info', method_info)
        args = info.get('method_args', ())
        if not isinstance(args, list | tuple):
            raise exceptions.Invalid(reason='method_args is %.80s, not a list' % ascii(args))
        kwargs = arguments.mapping('method_kwargs', info.get('method_kwargs', {}))
        ctxt = dispatch.context_of(message)
        return compute_api.run(
            connection,
            ctxt,
            info.get('method'),
            args,
            kwargs,
            means=self._means,
            message_uuid=message.uuid,
            answered=message.need_response,
            seconds=actions.seconds_of(message, self._means),
        )


def _statuses(name: str, value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list | tuple) else [value]
    return tuple(arguments.text(name, one) for one in found)


def _boolean(name: str, value: object) -> bool:
    try:
        return strutils.bool_from_string(value, strict=True)
    except ValueError:
        raise exceptions.Invalid(
            reason='%s is %.60s, not true or false' % (name, ascii(value))
        ) from None


#: Filter -> what it is called in the query, and what makes a value of it.
_FILTERS: Final[dict[str, tuple[str, Callable[[str, object], Any]]]] = {
    'changes-since': ('changed_since', times.parse),
    'dest_compute': ('dest_compute', arguments.text),
    'hidden': ('hidden', _boolean),
    'host': ('host', arguments.text),
    'instance_uuid': ('instance_uuid', arguments.text),
    'migration_type': ('migration_type', arguments.text),
    'source_compute': ('source_compute', arguments.text),
    'status': ('status', _statuses),
    'uuid': ('uuid', arguments.text),
}
#: Says which cell is asked; what comes with it is for that cell.
CELL_FILTER: Final = 'cell_name'


def migration_filters(given: object) -> db_migrations.Filters:
    """Return the filters that a request gives by name; one that is null counts for nothing.

    :raises Invalid: one of them is not known, or cannot be used.
    """
    filters: Mapping[str, Any] = arguments.mapping('filters', given)
    unknown = sorted(filters.keys() - _FILTERS.keys() - {CELL_FILTER})
    if unknown:
        raise exceptions.Invalid(
            reason='migrations have no filter %s; there are %s'
            % (', '.join('%.60s' % ascii(name) for name in unknown), ', '.join(sorted(_FILTERS)))
        )
    values = {}
    for name, (field, make) in _FILTERS.items():
        if filters.get(name) is not None:
            values[field] = make('filter ' + name, filters[name])
    return db_migrations.Filters(**values)
