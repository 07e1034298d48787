"""What this cell knows of itself and of its neighbours.

Neighbours come from the table ``cells``, read in the background and never in
the way of a message; when the table cannot be read, or holds nonsense, the
last good tree stays (D5, D6). Messages see an immutable :class:`Topology`.

What is learned from a neighbour's messages (that it lives, whether it is one
of ours) is shared between workers through ``neighbour_reports``.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import transport as messaging_transport

from cells import paths, routing
from cells.db import engine
from cells.db import neighbours as db_neighbours

LOG = logging.getLogger(__name__)

#: Seconds between two exchanges with ``neighbour_reports``.
REPORT_INTERVAL: Final = 1.0
#: After so many envelopes without our extension a neighbour counts as plain again.
PLAIN_AFTER: Final = 3


@dataclasses.dataclass(frozen=True, slots=True)
class CellState:
    """A neighbour as its row in the table says."""

    name: str
    is_parent: bool
    transport_url: str = dataclasses.field(repr=False)
    weight_offset: float = 0.0
    weight_scale: float = 1.0
    capabilities: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """Return the record of ``get_cell_info_for_neighbors``; no password is in it."""
        found: dict[str, Any] = {
            'name': self.name,
            'capabilities': {key: sorted(values) for key, values in self.capabilities.items()},
            'is_parent': self.is_parent,
            'weight_scale': self.weight_scale,
            'weight_offset': self.weight_offset,
        }
        host = first_host(self.transport_url)
        if host is not None:
            found.update(username=host.username, rpc_host=host.hostname, rpc_port=host.port)
        return found


def first_host(transport_url: str) -> Any:
    """Return the first broker host of a URL (hostname, port, username), None for none.

    :raises ValueError: it is no transport URL. What the parser says is not passed on: it
        may show a piece of the password.
    """
    try:
        url = messaging_transport.TransportURL.parse(cfg.ConfigOpts(), transport_url)
    except (oslo_messaging.InvalidTransportURL, ValueError):
        raise ValueError('not a transport URL') from None
    return url.hosts[0] if url.hosts else None


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


def topology_of(own_name: str, rows: list[dict[str, Any]]) -> Topology:
    """Return the topology that the table describes.

    :raises ValueError: it describes none; the text says why.
    """
    parents: dict[str, CellState] = {}
    children: dict[str, CellState] = {}
    for row in rows:
        name = paths.check_name(row['name'])
        if name in parents or name in children:
            raise ValueError('there are two neighbours of the name %s' % name)
        if name == own_name:
            raise ValueError('a neighbour has the name of this cell, %s' % own_name)
        if not row['transport_url']:
            raise ValueError('neighbour %s has no transport_url' % name)
        try:
            first_host(row['transport_url'])
        except ValueError:
            raise ValueError('neighbour %s: its transport_url is not one' % name) from None
        (parents if row['is_parent'] else children)[name] = CellState(
            name,
            bool(row['is_parent']),
            row['transport_url'],
            row['weight_offset'],
            row['weight_scale'],
        )
    if len(parents) > 1:
        raise ValueError(
            'a cell has one parent, but the table has %d: %s'
            % (len(parents), ', '.join(sorted(parents)))
        )
    return Topology(own_name, parents, children)


@dataclasses.dataclass(slots=True)
class Sighting:
    """What is known of a neighbour from its messages. Times by the clock of this host."""

    protocol: int = -1  # not known yet; 0 plain, else the version of our extension
    plain_in_a_row: int = 0
    last_plain_at: float | None = None
    last_seen: float = 0.0

    @property
    def is_ours(self) -> bool:
        """Whether the neighbour understands what we add."""
        return self.protocol > 0


class CellStateManager:
    """Keeps the topology and the sightings of one worker up to date."""

    def __init__(self, *, own_name: str, database: engine.Database, check_interval: float) -> None:
        self._database = database
        self._check_interval = check_interval
        self._lock = threading.Lock()
        self._sightings: dict[str, Sighting] = {}
        self._unsaved: set[str] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._in_trouble: set[str] = set()
        self._listeners: list[Callable[[Topology], None]] = []
        self.topology = Topology(paths.check_name(own_name))

    def on_change(self, listener: Callable[[Topology], None]) -> None:
        """Have a function called with each new topology."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Read the neighbours and keep reading.

        :raises ValueError: the table describes no tree.
        """
        self._load()
        self._exchange()
        self._thread = threading.Thread(target=self._run, name='state', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and write what is not yet written."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(5)
        self._guarded(self._exchange)

    def refresh(self) -> None:
        """Read the neighbours now; on any failure the last good ones stay."""
        self._guarded(self._load)

    def saw(self, name: str, protocol: int) -> None:
        """Note that an envelope came from a neighbour, with this version of our extension.

        :param protocol: 0 for an envelope without extension.
        """
        now = time.time()
        with self._lock:
            seen = self._sightings.setdefault(name, Sighting())
            seen.last_seen = now
            if protocol:
                seen.protocol, seen.plain_in_a_row = protocol, 0
            else:
                seen.plain_in_a_row += 1
                seen.last_plain_at = now
                if not seen.is_ours or seen.plain_in_a_row >= PLAIN_AFTER:
                    seen.protocol = 0
            self._unsaved.add(name)

    def sighting(self, name: str) -> Sighting:
        """Return what is known of a neighbour."""
        with self._lock:
            return dataclasses.replace(self._sightings.get(name) or Sighting())

    def _load(self) -> None:
        found = topology_of(self.topology.own_name, db_neighbours.cell_get_all(self._database))
        if found == self.topology:
            return
        LOG.info(
            'Neighbours of cell %s: parent %s, children %s',
            found.own_name,
            ', '.join(found.parents) or 'none',
            ', '.join(found.children) or 'none',
        )
        self.topology = found
        for listener in self._listeners:
            listener(found)

    def _exchange(self) -> None:
        with self._lock:
            names, self._unsaved = self._unsaved, set()
            rows = [{'name': name, **dataclasses.asdict(self._sightings[name])} for name in names]
        try:
            if rows:
                db_neighbours.reports_save(self._database, rows)
            reports = db_neighbours.reports_get_all(self._database)
        except engine.ERRORS:
            with self._lock:
                self._unsaved |= names
            raise
        with self._lock:
            for name, values in reports.items():
                known = self._sightings.get(name)
                if known is None or known.last_seen < values['last_seen']:
                    fields = (field.name for field in dataclasses.fields(Sighting))
                    self._sightings[name] = Sighting(**{key: values[key] for key in fields})

    def _guarded(self, work: Callable[[], None]) -> None:
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
            trouble = 'The table of neighbours is wrong, the last good one stays: %s' % error
            level = logging.ERROR
        if trouble and name not in self._in_trouble:
            LOG.log(level, trouble)
        elif not trouble and name in self._in_trouble:
            LOG.info('The table of neighbours and reports can be read again')
        (self._in_trouble.add if trouble else self._in_trouble.discard)(name)

    def _run(self) -> None:
        checked = time.monotonic()
        while not self._stopped.wait(REPORT_INTERVAL):
            self._guarded(self._exchange)
            if time.monotonic() - checked >= self._check_interval:
                checked = time.monotonic()
                self._guarded(self._load)
