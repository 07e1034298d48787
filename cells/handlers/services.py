"""Services."""

from collections.abc import Mapping
from typing import Any, Final

from cells import context, exceptions
from cells.db import engine
from cells.db import services as db_services
from cells.objects import service


class ServiceHandlers:
    """Answers questions on services from the database."""

    OPERATIONS: Final = ('service_get_all',)

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    def service_get_all(
        self, ctxt: context.RequestContext, filters: Mapping[str, Any] | None = None
    ) -> list[service.Service]:
        """Return the services of this cell.

        :param filters: ``disabled`` and other attributes, each with the value it must have.
        :raises Invalid: a filter is not an attribute of a service.
        """
        if filters is not None and not isinstance(filters, Mapping):
            raise exceptions.Invalid(reason='filters is %.60r, not an object' % (filters,))
        wanted = dict(filters or {})
        unknown = set(wanted) - set(service.Service.fields)
        if unknown:
            raise exceptions.Invalid(
                reason='services have no attribute %s; filters are %s'
                % (', '.join(sorted(unknown)), ', '.join(sorted(service.Service.fields)))
            )
        disabled = wanted.pop('disabled', None)
        found = [_to_object(row) for row in db_services.service_get_all(self._database, disabled)]
        return [one for one in found if all(getattr(one, key) == wanted[key] for key in wanted)]


def _to_object(row: dict[str, Any]) -> service.Service:
    values = {key: value for key, value in row.items() if key in service.Service.fields}
    found = service.Service(**{**values, 'deleted': bool(row['deleted'])})
    found.obj_reset_changes()
    return found
