"""How an order for an instance gets on its way, and what becomes of one that is refused.

Who casts an order does not wait for an answer. So what is wrong with one that is refused
here is written to the record of the instance, where its user looks, and to the log.
"""

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from cells import context, exceptions, operations, paths
from cells.db import engine
from cells.db import instances as db_instances
from cells.endpoints import base, given, refusals
from cells.objects import instance as instance_objects

LOG = logging.getLogger(__name__)

#: Seconds between two attempts to reach a database that is away.
PAUSE: Final = 0.5

#: What is ordered for instances by casts.
ORDERS: Final = frozenset(
    {
        *operations.INSTANCE_ACTIONS,
        'instance_delete_everywhere',
        'instance_update_from_api',
        'stop_instance',
        refusals.BUILD,
    }
)

Result = TypeVar('Result')


class Orders(base.Endpoint):
    """What all endpoints share that order something for instances."""

    def order(
        self, ctxt: context.RequestContext, operation: str, instance: object, **kwargs: Any
    ) -> None:
        """Send an order on its way to the cell of an instance. Returns when it is safe.

        :param kwargs: its other arguments.
        :raises Invalid: the instance is none.
        :raises InstanceUnknownCell: nobody knows where it is.
        :raises CellRoutingInconsistency: no way leads to its cell.
        """
        found = given.instance(instance)
        target = self.cell_of(found, self.patiently)
        self._runner.change(ctxt, operation, {'instance': found, **kwargs}, target)

    def cell_of(
        self,
        instance: instance_objects.Instance,
        using: Callable[[Callable[[engine.Database], Any]], Any],
    ) -> paths.CellPath:
        """Return the path to the cell of an instance: what the caller knows, or else this cell.

        :param using: calls a function with the database: :meth:`patiently` or :meth:`at_once`.
        :raises InstanceUnknownCell: neither does (T6).
        """
        cell_name = instance.cell_name if 'cell_name' in instance else None
        if not cell_name:
            cell_name = using(lambda database: self._recorded_cell(database, instance.uuid))
        if not cell_name:
            raise exceptions.InstanceUnknownCell(instance_uuid=instance.uuid)
        return base.cell_path(cell_name)

    def _recorded_cell(self, database: engine.Database, uuid: str) -> str | None:
        with database.read() as connection:
            try:
                found = db_instances.instance_get(connection, uuid)
            except exceptions.InstanceNotFound:
                return None
        # Instances on hosts of this cell have no other.
        return found.cell_name or (self._state.topology.own_name if found.host else None)

    @contextlib.contextmanager
    def refusals_noted(
        self, ctxt: context.RequestContext, operation: str, *instances: object
    ) -> Iterator[None]:
        """Note on instances why what is ordered in this block is refused; and raise that.

        :param instances: as the caller gave them.
        """
        try:
            yield
        except exceptions.WireError as error:
            uuids = [uuid for uuid in map(given.uuid_of, instances) if uuid is not None]
            LOG.warning(
                '%s of instance %s is refused (request %s): %s',
                operation,
                ', '.join(uuids) or '(unknown)',
                ctxt.request_id,
                error,
            )
            own_name = self._state.topology.own_name
            for uuid in uuids:
                failed = refusals.refusal(ctxt, own_name, uuid, operation, error)
                self.patiently(functools.partial(refusals.note, failed=failed))
            raise

    def note_refusal(
        self,
        ctxt: context.RequestContext,
        method: str,
        arguments: Mapping[str, Any],
        error: exceptions.WireError,
    ) -> None:
        """Note on instances that an order is refused which could not even be read.

        :param arguments: as the caller gave them, objects that cannot be read as envelopes.
        """
        if method not in ORDERS or arguments.get('do_cast') is False:
            return
        instances = given.instances_in(arguments)
        with contextlib.suppress(exceptions.WireError):
            with self.refusals_noted(ctxt, method, *instances):
                raise error

    def at_once(self, work: Callable[[engine.Database], Result]) -> Result:
        """Do something with the database for a caller who waits.

        :raises DatabaseUnavailable: it does not answer.
        """
        with self.using_database() as database:
            return work(database)

    def patiently(self, work: Callable[[engine.Database], Result]) -> Result:
        """Do something with the database for an order that must not be lost.

        :raises JournalUnavailable: this worker stops before the database answers; the broker
            keeps the order.
        """
        told = False
        while True:
            try:
                return work(self._database)
            except engine.ERRORS as error:
                if engine.is_data_error(error):
                    raise
                if not told and not engine.is_deadlock(error):
                    told = True
                    LOG.warning('An order waits for the database: %s', engine.brief(error))
            self._runner.check_running()
            time.sleep(PAUSE)
