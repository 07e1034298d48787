"""How this cell does, and the ways to its neighbours: what a worker tells who asks.

``x_status`` asks all cells of the tree for :meth:`CellStatus.summary`, so that one command at
the top shows where it is stuck (O9).
"""

from collections.abc import Callable, Mapping
from typing import Any

from cells import sightings, versions
from cells.db import cell_instances, engine, services, unsent
from cells.db import journal as db_journal
from cells.drivers import base as drivers_base
from cells.reports import NODES
from cells.state import CellStateManager
from cells.stats import Stats

#: What a sighting says of the kind of a neighbour.
PROTOCOLS: Mapping[int, str] = {-1: 'unknown', 0: 'plain'}


def protocol(sighting: sightings.Sighting) -> str:
    """Return ``ours``, ``plain`` or ``unknown``."""
    return PROTOCOLS.get(sighting.protocol, 'ours')


class CellStatus:
    """Tells of one cell as one of its workers sees it.

    :param own_capacities: returns what is free on the hosts of this cell.
    :param takes_builds: tells whether this cell takes new instances.
    :param service_down_time: seconds without a report after which a host is down.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        state: CellStateManager,
        driver: drivers_base.CellsDriver,
        stats: Stats,
        own_capacities: Callable[[], dict[str, Any]],
        takes_builds: Callable[[], bool],
        service_down_time: float,
    ) -> None:
        self._database = database
        self._state = state
        self._driver = driver
        self._stats = stats
        self._own_capacities = own_capacities
        self._takes_builds = takes_builds
        self._service_down_time = service_down_time

    def neighbours(
        self, oldest: Mapping[str, float], waiting: Mapping[str, int]
    ) -> list[dict[str, Any]]:
        """Return the ways to the neighbours, parents first.

        :param oldest: the age of the oldest change that one has not confirmed, by name.
        :param waiting: how many it has not confirmed.
        """
        return [
            {
                **one,
                'oldest_unconfirmed': oldest.get(one['name']),
                'unconfirmed': waiting.get(one['name'], 0),
            }
            for one in self.links()
        ]

    def links(self) -> list[dict[str, Any]]:
        """Return of the ways to the neighbours, parents first, what needs no database."""
        topology = self._state.topology
        return [
            self._neighbour(cell.name, cell.is_parent)
            for cell in (*topology.parents.values(), *topology.children.values())
        ]

    def _neighbour(self, name: str, is_parent: bool) -> dict[str, Any]:
        link, sighting = self._driver.link(name), self._state.sighting(name)
        return {
            'name': name,
            'is_parent': is_parent,
            'link_up': link.up,
            'link_error': link.error,
            'waiting': link.waiting,
            'sent': link.sent,
            'failed': link.failed,
            'protocol': protocol(sighting),
            'mute': self._state.sightings.is_mute(name),
            'drained': name in self._state.drained,
            'cell_id': sighting.cell_id,
            'clock_offset': sighting.clock_offset,
            'lag': sighting.lag,
            'messages_in': self._stats.get('messages_received', neighbour=name),
            'messages_out': self._stats.get('messages_sent', neighbour=name),
            'last_seen': sighting.last_seen or None,
            'last_plain_at': sighting.last_plain_at,
        }

    def summary(self) -> dict[str, Any]:
        """Return what ``x_status`` answers: plain values.

        :raises Exception: one of ``engine.ERRORS``.
        """
        topology = self._state.topology
        found = self.neighbours(
            db_journal.outbox_oldest(self._database), db_journal.outbox_waiting(self._database)
        )
        for one in found:
            if not one['is_parent']:
                seen = self._state.sighting(one['name'])
                one['nodes'] = list(seen.capabilities.get(NODES, ()))
        return {
            'id': self._state.cell_id,
            'name': topology.own_name,
            'is_top': topology.is_top,
            'protocol': versions.EXTENSION_VERSION,
            'takes_builds': self._takes_builds(),
            'capacities': self._own_capacities(),
            'hosts': services.hosts_counted(self._database, self._service_down_time),
            'instances': sum(cell_instances.counts(self._database).values()),
            'journal': db_journal.counts(self._database),
            'unsent': unsent.summary(self._database),
            'neighbours': found,
        }
