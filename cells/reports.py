"""What a cell can do and has free, told upwards: own and from below, merged.

A report that comes from a child is kept and shared (:mod:`cells.sightings`),
never passed on at once: the worker that holds the lease ``reports`` sends the
merged one when it has changed, at most once a second, and from time to time
anyhow. So the traffic does not grow with the number of workers (P2). Mute
children count for nothing (D1). The own hosts are counted in a thread of
their own, away from every message (D5).
"""

import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cells import capacity, leases, sightings, versions
from cells.db import changes, engine
from cells.messaging import MessageRunner
from cells.state import CellStateManager

LOG = logging.getLogger(__name__)

#: Seconds between two reports that say nothing new.
REPORT_SECONDS: Final = 60.0
#: Least seconds between two reports.
LEAST_SECONDS: Final = 1.0
#: Hosts go down without a sign: seconds between two counts that nothing calls for.
COUNT_SECONDS: Final = 5.0
#: Least seconds between two counts.
LEAST_COUNT: Final = 0.5
TURN_SECONDS: Final = 0.25

#: Under this name the ids of our cells travel up: ``<id>;<name>;<parent>;<protocol>``.
NODES: Final = 'cells.node'
#: Under this name the names of those that take no new instances travel up.
DRAINING: Final = 'cells.draining'


def parse_capabilities(items: Iterable[str]) -> dict[str, list[str]]:
    """Return the capabilities of ``[cells] capabilities``, values by key.

    :raises ValueError: an item is not ``key=value`` or ``key=value1;value2``.
    """
    found: dict[str, list[str]] = {}
    for item in items:
        key, sign, values = item.partition('=')
        if not sign or not key.strip() or key.strip() in (NODES, DRAINING):
            raise ValueError('%r is not of the form key=value or key=value1;value2' % item)
        found[key.strip()] = sorted({one.strip() for one in values.split(';') if one.strip()})
    return found


def has_node(capabilities: Mapping[str, Iterable[str]], cell_id: str) -> bool:
    """Tell whether a cell is among those that told these capabilities."""
    return any(node.partition(';')[0] == cell_id for node in capabilities.get(NODES, ()))


def merge_capabilities(parts: Iterable[Mapping[str, Iterable[str]]]) -> dict[str, list[str]]:
    """Return the union of capabilities, values sorted."""
    found: dict[str, set[str]] = {}
    for part in parts:
        for key, values in part.items():
            found.setdefault(key, set()).update(values)
    return {key: sorted(values) for key, values in sorted(found.items())}


class Reports:
    """Knows what this cell and those below can do and have free, and tells the parents.

    :param capabilities: the own ones.
    :param count: returns the own capacities; may take a while.
    :param enabled: tells whether this cell takes new instances.
    :param extensions: whether this cell adds to envelopes what nova-cells do not know.
    """

    def __init__(
        self,
        *,
        state: CellStateManager,
        runner: MessageRunner,
        lease: leases.Lease,
        capabilities: Mapping[str, list[str]],
        count: Callable[[], dict[str, Any]],
        enabled: Callable[[], bool] = lambda: True,
        extensions: bool = True,
    ) -> None:
        self._state = state
        self._runner = runner
        self._lease = lease
        self._capabilities = dict(capabilities)
        self._count = count
        self._enabled = enabled
        self._protocol = versions.EXTENSION_VERSION if extensions else 0
        self._own: dict[str, Any] = {}
        self._counted: int | None = None
        self._versions: Mapping[str, int] = {}
        self._sent: dict[str, tuple[Any, float]] = {}
        self._announced: frozenset[str] = frozenset()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._count_loop, 'capacity'), (self._report_loop, 'reports'))
        ]

    def start(self) -> None:
        """Count, and begin to report."""
        self._state.on_versions(self._note_versions)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)

    def capabilities(self) -> dict[str, list[str]]:
        """Return what this cell and the living children can do."""
        topology = self._state.topology
        parent = ','.join(sorted(topology.parents))
        node = '%s;%s;%s;%d' % (
            self._state.cell_id,
            topology.own_name,
            parent,
            self._protocol,
        )
        parts: list[Mapping[str, list[str]]] = [{**self._capabilities, NODES: [node]}]
        drained = sorted(self._state.drained & frozenset(topology.children))
        if not self._enabled():
            drained.append(topology.own_name)
        if drained:
            parts.append({DRAINING: drained})
        for seen in self._living():
            if self._is_below_itself(seen):
                # So that every cell of the cycle learns of it.
                parts.append({NODES: seen.capabilities[NODES]})
            else:
                parts.append(seen.capabilities)
        return merge_capabilities(parts)

    def capacities(self) -> dict[str, Any]:
        """Return what is free in this cell and in the living children together.

        What is free in a child that is drained here is of no use to new instances.
        """
        parts: list[Mapping[str, Any]] = [self._own]
        for seen in self._living(without=self._state.drained):
            if not self._is_below_itself(seen):
                # What is below a nova-cells is in its sums, but not all of it says "free".
                plain = seen.protocol == 0
                parts.append(_without_free(seen.capacities) if plain else seen.capacities)
        found = capacity.merge(parts)
        if any(part and 'free' not in part for part in parts):
            return _without_free(found)
        return found

    def own_capacities(self) -> dict[str, Any]:
        """Return what is free on the hosts of this cell."""
        return dict(self._own)

    def _is_below_itself(self, seen: sightings.Sighting) -> bool:
        """Tell whether a child has this cell below it: it would count itself for ever (R6)."""
        return has_node(seen.capabilities, self._state.cell_id)

    def _living(self, without: frozenset[str] = frozenset()) -> list[sightings.Sighting]:
        mute = self._state.mute() | without
        return [
            self._state.sighting(name)
            for name in sorted(self._state.topology.children)
            if name not in mute
        ]

    def _note_versions(self, found: Mapping[str, int]) -> None:
        self._versions = dict(found)

    # -- the own hosts --

    def _count_loop(self) -> None:
        due, in_trouble = 0.0, False
        while not self._stopped.is_set():
            version = self._versions.get(changes.HOSTS)
            if time.monotonic() >= due or version != self._counted:
                try:
                    self._own = self._count()
                except engine.ERRORS as error:
                    if not in_trouble:
                        LOG.warning('The hosts cannot be counted: %s', engine.brief(error))
                    in_trouble = True
                except Exception:  # noqa: BLE001 - without this thread capacities would freeze
                    LOG.exception('The hosts cannot be counted, going on')
                else:
                    in_trouble = False
                    self._counted = version
                due = time.monotonic() + COUNT_SECONDS
                self._stopped.wait(LEAST_COUNT)
            else:
                self._stopped.wait(TURN_SECONDS)

    # -- up the tree --

    def _report_loop(self) -> None:
        while not self._stopped.wait(TURN_SECONDS):
            try:
                if self._lease.held:
                    self._announce()
                    self._report()
                else:
                    self._sent.clear()
                    self._announced = frozenset()
            except Exception:  # noqa: BLE001 - without this thread the parents would hear nothing
                LOG.exception('Capabilities and capacities could not be reported, going on')
                self._stopped.wait(LEAST_SECONDS)

    def _announce(self) -> None:
        """Ask new children to report; those that are there tell it anyhow."""
        children = frozenset(self._state.topology.children)
        for child in sorted(children - self._announced):
            self._runner.tell('announce_capabilities', child, {})
            self._runner.tell('announce_capacities', child, {})
        self._announced = children

    def _report(self) -> None:
        parents = self._state.topology.parents
        if not parents:
            return
        wanted = self._versions.get(changes.WANTED)
        to = frozenset(parents)
        now = time.monotonic()
        for operation, key, value in (
            ('update_capabilities', 'capabilities', self.capabilities()),
            ('update_capacities', 'capacities', self._told()),
        ):
            news = (value, to, wanted)
            told, at = self._sent.get(key, (None, -math.inf))
            if now - at < LEAST_SECONDS or (told == news and now - at < REPORT_SECONDS):
                continue
            self._sent[key] = (news, now)
            for parent in to:
                arguments = {'cell_name': self._state.topology.own_name, key: value}
                self._runner.tell(
                    operation, parent, arguments, functools.partial(self._not_sent, key)
                )

    def _told(self) -> dict[str, Any]:
        """Return what the parents may count on: nothing for new instances of a drained cell."""
        found = self.capacities()
        return found if self._enabled() else _nothing_of(found)

    def _not_sent(self, key: str) -> None:
        """Have a report tried again soon that did not get out."""
        _, at = self._sent.get(key, (None, -math.inf))
        self._sent[key] = (None, at)


def _without_free(capacities: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in capacities.items() if key != 'free'}


def _nothing_of(capacities: Mapping[str, Any]) -> dict[str, Any]:
    """Return capacities of the same form with nothing in them."""
    return {
        key: _nothing_of(value) if isinstance(value, Mapping) else 0
        for key, value in capacities.items()
    }
