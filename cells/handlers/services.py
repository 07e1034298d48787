"""Services."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, context, exceptions, messages
from cells.db import compute_nodes as db_compute_nodes
from cells.db import engine
from cells.db import services as db_services
from cells.handlers import base
from cells.objects import service

#: What service_get_all can be narrowed down by.
_FILTERS: Final = frozenset(service.Service.fields) - {'compute_node'}
#: What service_update may change, and the type of it.
_CHANGEABLE: Final[dict[str, type]] = {
    'disabled': bool,
    'disabled_reason': str,
    'forced_down': bool,
}


class ServiceHandlers:
    """Answers questions on services from the database, and changes them."""

    OPERATIONS: Final = (
        'service_delete',
        'service_get_all',
        'service_get_by_compute_host',
        'service_update',
    )

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    def service_get_all(
        self, ctxt: context.RequestContext, filters: Mapping[str, Any] | None = None
    ) -> list[service.Service]:
        """Return the services of this cell, in the order of their ids.

        :param filters: ``disabled`` and other attributes, each with the value it must have.
        :raises Invalid: a filter is not an attribute of a service.
        """
        if filters is not None and not isinstance(filters, Mapping):
            raise exceptions.Invalid(reason='filters is %.60r, not an object' % (filters,))
        wanted = dict(filters or {})
        unknown = set(wanted) - _FILTERS
        if unknown:
            raise exceptions.Invalid(
                reason='services have no attribute %s; filters are %s'
                % (', '.join(sorted(unknown)), ', '.join(sorted(_FILTERS)))
            )
        disabled = wanted.pop('disabled', None)
        if disabled is not None:
            disabled = base.boolean('filter disabled', disabled)
        found = [_to_object(row) for row in db_services.service_get_all(self._database, disabled)]
        return [one for one in found if _fits(one, wanted)]

    def service_get_by_compute_host(
        self, ctxt: context.RequestContext, host_name: object
    ) -> service.Service:
        """Return the compute service of a host.

        :raises ComputeHostNotFound: this cell has no such host.
        """
        name = arguments.text('host_name', host_name)
        row = db_services.service_find(self._database, name)
        if row is None:
            raise exceptions.ComputeHostNotFound(host=name)
        return _to_object(row)

    def service_update(
        self,
        connection: sa.Connection,
        message: messages.Message,
        host_name: object,
        binary: object,
        params_to_update: object,
    ) -> service.Service:
        """Change a service and return it as it is then.

        :param params_to_update: ``disabled``, ``disabled_reason``, ``forced_down``.
        :raises HostBinaryNotFound: there is no such service.
        :raises Invalid: something else is to be changed, or has no such value.
        """
        values = _changes(params_to_update)
        return _to_object(
            db_services.service_update(
                connection,
                arguments.text('host_name', host_name),
                arguments.text('binary', binary),
                values,
            )
        )

    def service_delete(
        self, connection: sa.Connection, message: messages.Message, service_id: object
    ) -> None:
        """Delete a service, and with that of a compute host its compute nodes.

        :param service_id: its id, or its uuid.
        :raises ServiceNotFound: there is no such service, or it is neither.
        """
        key = base.row_key(service_id)
        if key is None:
            raise exceptions.ServiceNotFound(service_id='%.80s' % ascii(service_id))
        row = db_services.service_delete(connection, key)
        if row['binary'] == db_services.COMPUTE:
            db_compute_nodes.compute_nodes_delete(connection, row['host'])


def _fits(one: service.Service, wanted: Mapping[str, Any]) -> bool:
    return all(key in one and getattr(one, key) == wanted[key] for key in wanted)


def _changes(given: object) -> dict[str, Any]:
    values = arguments.mapping('params_to_update', given)
    unknown = values.keys() - _CHANGEABLE.keys()
    if unknown or not values:
        raise exceptions.Invalid(
            reason='params_to_update has %s; a service can be changed in %s'
            % (
                ', '.join('%.60s' % ascii(name) for name in sorted(unknown)) or 'nothing',
                ', '.join(_CHANGEABLE),
            )
        )
    for name, value in values.items():
        if _CHANGEABLE[name] is bool:
            values[name] = base.boolean(name, value)
        elif value is not None:
            arguments.text(name, value, empty=True)
    if values.get('disabled') is False:
        values.setdefault('disabled_reason', None)
    return values


def _to_object(row: dict[str, Any]) -> service.Service:
    values = {key: value for key, value in row.items() if key in service.Service.fields}
    if values['uuid'] is None:
        del values['uuid']
    found = service.Service(**{**values, 'deleted': bool(row['deleted'])})
    found.obj_reset_changes()
    return found
