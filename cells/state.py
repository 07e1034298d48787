"""What this cell knows of itself and of its neighbours.

Neighbours come from a source (:mod:`cells.neighbour_sources`), read in the
background and never in the way of a message; when it cannot be read, or holds
nonsense, the last good tree stays (D5, D6, D9). Messages see an immutable
:class:`Topology`. What the neighbours' messages tell is in
:mod:`cells.sightings`.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cells import exceptions, neighbour_sources, paths, routing, sightings
from cells.db import changes, engine
from cells.db import drains as db_drains
from cells.db import neighbours as db_neighbours
from cells.db import path_aliases as db_path_aliases
from cells.patience import Patience

LOG = logging.getLogger(__name__)

#: Seconds between two looks at the counters of what workers share.
POLL_SECONDS: Final = 0.25
#: Seconds between two exchanges of who was seen, when nothing else calls for one.
REPORT_SECONDS: Final = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class CellState:
    """A neighbour as its row in the table says."""

    name: str
    is_parent: bool
    transport_url: str = dataclasses.field(repr=False)
    weight_offset: float = 0.0
    weight_scale: float = 1.0
    api_url: str | None = None

    def info(self, capabilities: Mapping[str, list[str]]) -> dict[str, Any]:
        """Return the record of ``get_cell_info_for_neighbors``; no password is in it."""
        found: dict[str, Any] = {
            'name': self.name,
            'capabilities': dict(capabilities),
            'is_parent': self.is_parent,
            'weight_scale': self.weight_scale,
            'weight_offset': self.weight_offset,
        }
        host = neighbour_sources.first_host(self.transport_url)
        if host is not None:
            found.update(username=host.username, rpc_host=host.hostname, rpc_port=host.port)
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Topology:
    """This cell and its neighbours at one moment."""

    own_name: str
    parents: Mapping[str, CellState] = dataclasses.field(default_factory=dict)
    children: Mapping[str, CellState] = dataclasses.field(default_factory=dict)
    is_top: bool = False

    @property
    def neighbours(self) -> routing.Neighbours:
        """The names, for routing."""
        return routing.Neighbours(self.own_name, frozenset(self.parents), frozenset(self.children))

    @property
    def names(self) -> frozenset[str]:
        """The names of all neighbours."""
        return frozenset(self.parents) | frozenset(self.children)

    def get(self, name: str) -> CellState | None:
        """Return a neighbour by name."""
        return self.children.get(name) or self.parents.get(name)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """What this cell is in the tree, as configured.

    :ivar is_top: ``[cells] cell_type = api``.
    :ivar standalone: a compute cell that may be without a parent.
    :ivar many_parents: whether several parents are allowed.
    """

    name: str
    is_top: bool = False
    standalone: bool = False
    many_parents: bool = False


def topology_of(place: Place, rows: list[dict[str, Any]]) -> Topology:
    """Return the topology that a source describes.

    :raises ValueError: it describes none; the text says why (R11, D11).
    """
    parents: dict[str, CellState] = {}
    children: dict[str, CellState] = {}
    for row in rows:
        name = neighbour_sources.check_name(row['name'], place.name)
        if name in parents or name in children:
            raise ValueError(str(exceptions.CellExists(name=name)))
        if not row['transport_url']:
            raise ValueError('neighbour %s has no transport_url' % name)
        try:
            neighbour_sources.first_host(row['transport_url'])
        except ValueError:
            raise ValueError('neighbour %s: its transport_url is not one' % name) from None
        (parents if row['is_parent'] else children)[name] = CellState(
            name,
            bool(row['is_parent']),
            row['transport_url'],
            row['weight_offset'],
            row['weight_scale'],
            row['api_url'],
        )
    _check_place(place, parents)
    return Topology(place.name, parents, children, place.is_top)


def _check_place(place: Place, parents: Mapping[str, CellState]) -> None:
    if place.is_top and parents:
        raise ValueError(
            'cell %s is the top of the tree ([cells] cell_type = api), but it has the parent %s'
            % (place.name, ', '.join(sorted(parents)))
        )
    if not place.is_top and not parents and not place.standalone:
        raise ValueError(
            'cell %s is a compute cell without a parent, so nothing that happens in it would be '
            'known above. Create its parent ("nova-cells-manage cell create NAME parent URL"), '
            'set [cells] cell_type = api for the top of a tree, or start it with --standalone'
            % place.name
        )
    if len(parents) > 1 and not place.many_parents:
        raise ValueError(
            'a cell has one parent, but there are %d: %s. [cells] allow_multiple_parents allows it'
            % (len(parents), ', '.join(sorted(parents)))
        )


class CellStateManager:
    """Keeps the topology and the sightings of one worker up to date.

    :param check_interval: seconds between two looks at the source without a known change.
    """

    def __init__(
        self,
        *,
        place: Place,
        source: neighbour_sources.Source,
        seen: sightings.Sightings,
        database: engine.Database,
        check_interval: float,
    ) -> None:
        self.place = place
        self.source = source
        self.sightings = seen
        self._database = database
        self._check_interval = check_interval if source.editable else REPORT_SECONDS
        self._loading = threading.Lock()
        self._stopped = threading.Event()
        self._wakeup = threading.Event()
        self._thread: threading.Thread | None = None
        self._in_trouble: dict[str, str] = {}
        self._listeners: list[Callable[[Topology], None]] = []
        self._watchers: list[Callable[[Mapping[str, int]], None]] = []
        self._versions: Mapping[str, int] = {}
        #: When the thread of this turned last, on the monotonic clock.
        self.turned_at = time.monotonic()
        #: The id of this cell, known from :meth:`load` on.
        self.cell_id = ''
        self.topology = Topology(paths.check_name(place.name), is_top=place.is_top)
        #: Where cells are that were renamed or moved.
        self.aliases = paths.Aliases()
        #: Which cells, this one or children, an operator lets take no new instances.
        self.drained: frozenset[str] = frozenset()

    def on_change(self, listener: Callable[[Topology], None]) -> None:
        """Have a function called with each new topology."""
        self._listeners.append(listener)

    def on_versions(self, watcher: Callable[[Mapping[str, int]], None]) -> None:
        """Have a function called with the counters of :mod:`cells.db.changes`, often."""
        self._watchers.append(watcher)

    def load(self) -> None:
        """Read the neighbours and what is known of them, once.

        :raises ValueError: the source describes no tree.
        """
        self.cell_id = db_neighbours.cell_id(self._database)
        self._versions = changes.versions(self._database)
        self._load()
        self._read_aliases()
        self._read_drained()
        self.sightings.exchange(self._versions)

    def start(self) -> None:
        """Read the neighbours and keep reading.

        :raises ValueError: the source describes no tree.
        """
        Patience('The neighbours', self._stopped).insist(self.load)
        self._thread = threading.Thread(target=self._run, name='state', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and write what is not yet written."""
        self._stopped.set()
        self._wakeup.set()
        if self._thread is not None:
            self._thread.join(5)
        self._guarded(self._exchange)

    def refresh(self) -> None:
        """Read the neighbours now; on any failure the last good ones stay."""
        self._guarded(self._load)
        self._guarded(self._read_aliases)
        self._guarded(self._read_drained)

    def resolve(self, path: paths.CellPath) -> paths.CellPath:
        """Return where a cell is now that somebody knows by a path that it may have had before.

        :raises CellRoutingInconsistency: the aliases are of no use.
        """
        try:
            return self.aliases.resolve(path)
        except ValueError as error:
            raise exceptions.CellRoutingInconsistency(reason=str(error)) from None

    @property
    def trouble(self) -> str | None:
        """Why the neighbours, or what is known of them, cannot be read; None when they can."""
        return next(iter(self._in_trouble.copy().values()), None)

    def share(self) -> None:
        """Write what was learned soon, not at the next turn."""
        self._wakeup.set()

    def sighting(self, name: str) -> sightings.Sighting:
        """Return what is known of a neighbour."""
        return self.sightings.get(name)

    def mute(self) -> frozenset[str]:
        """Return the neighbours that have been silent for too long."""
        return frozenset(name for name in self.topology.names if self.sightings.is_mute(name))

    def _load(self) -> None:
        with self._loading:
            found = topology_of(self.place, self.source.read())
            if found == self.topology:
                return
            LOG.info(
                'Neighbours of cell %s: parent %s, children %s',
                found.own_name,
                ', '.join(found.parents) or 'none',
                ', '.join(found.children) or 'none',
            )
            self.topology = found
            self.sightings.forget(found.names)
            for name in found.names:
                self.sightings.get(name)
            for listener in self._listeners:
                listener(found)

    def _read_aliases(self) -> None:
        self.aliases = db_path_aliases.aliases(self._database)

    def _read_drained(self) -> None:
        self.drained = frozenset(db_drains.drain_get_all(self._database))

    def _exchange(self) -> None:
        self.sightings.exchange(self._versions)

    def _guarded(self, work: Callable[[], None]) -> bool:
        """Do a piece of work that may fail; the log has a line for each change of how it goes."""
        name = work.__name__
        trouble, level = None, logging.WARNING
        try:
            work()
        except engine.ERRORS as error:
            trouble = 'The database does not answer, going on with what is known: %s' % (
                engine.brief(error)
            )
        except ValueError as error:
            trouble = 'The neighbours are wrong, the last good ones stay: %s' % error
            level = logging.ERROR
        if trouble and name not in self._in_trouble:
            LOG.log(level, trouble)
        elif not trouble and name in self._in_trouble:
            LOG.info('The neighbours and what is known of them can be read again')
        if trouble:
            self._in_trouble[name] = trouble
        else:
            self._in_trouble.pop(name, None)
        return not trouble

    def _poll(self) -> None:
        self._versions = changes.versions(self._database)

    def _run(self) -> None:
        checked = exchanged = time.monotonic()
        seen: Mapping[str, int] = dict(self._versions)
        while not self._stopped.is_set():
            self._wakeup.wait(POLL_SECONDS)
            woken = self._wakeup.is_set()
            self._wakeup.clear()
            self.turned_at = time.monotonic()
            try:
                if not self._guarded(self._poll):
                    self.sightings.blind()
                    self._stopped.wait(REPORT_SECONDS)
                    if self.source.editable:
                        continue
                now, news = time.monotonic(), self._versions
                if news.get(changes.NEIGHBOURS) != seen.get(changes.NEIGHBOURS) or (
                    now - checked >= self._check_interval
                ):
                    checked = now
                    self._guarded(self._load)
                    self._guarded(self._read_aliases)
                    self._guarded(self._read_drained)
                if (
                    woken
                    or now - exchanged >= REPORT_SECONDS
                    or news.get(changes.REPORTS) != seen.get(changes.REPORTS)
                ):
                    exchanged = now
                    if not self._guarded(self._exchange):
                        self.sightings.blind()
                    self.mute()  # so that what waits hears of it
                    self.sightings.complain()
                seen = dict(news)
                for watcher in self._watchers:
                    watcher(news)
            except Exception:  # noqa: BLE001 - without this thread a worker goes blind
                LOG.exception('The state of the neighbours could not be kept, going on')
                self._stopped.wait(REPORT_SECONDS)
