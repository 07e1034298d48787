"""What is known of the neighbours from their messages.

That they live, whether they are of our kind, under which id, how far their
clock is off, and what they reported of what they can do and have free. All
workers of a cell share it through ``neighbour_reports``.

How long a neighbour has been silent is measured on the monotonic clock of
this process, from when the news of its last message came here: a clock that
is set does not make anybody mute (D8).
"""

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cells.db import changes as db_changes
from cells.db import engine
from cells.db import neighbours as db_neighbours

LOG = logging.getLogger(__name__)

#: After so many envelopes without our extension a neighbour counts as plain again.
PLAIN_AFTER: Final = 3
#: Seconds between two pings to a neighbour of our kind; three that it misses make it mute.
PING_SECONDS: Final = 5.0
MUTE_SECONDS: Final = 3 * PING_SECONDS + 2
#: Seconds until a neighbour that was never heard of is worth a warning.
UNHEARD_SECONDS: Final = 30.0
#: Seconds in which one of our cells says something: who is silent for longer is plain.
STRANGER_SECONDS: Final = 120.0
#: A clock that is off by more is worth an alarm.
OFFSET_ALARM: Final = 1.0
#: Half of the seconds for which an answer may be under way and half of what it says of a clock is
#: believed; of one that took longer ever less is, with the square.
TRUSTED_WAY: Final = 0.25

#: By how many seconds ``last_seen`` grows at least.
TICK: Final = 0.001

#: Of a sighting, what all workers share: who has seen the neighbour last knows it best. Its clock
#: is known best to the one that measures it.
SHARED: Final = (
    'protocol',
    'plain_in_a_row',
    'last_plain_at',
    'last_seen',
    'cell_id',
)
#: What a neighbour reports.
REPORTED: Final = ('capabilities', 'capacities')


@dataclasses.dataclass(slots=True)
class Sighting:
    """What is known of one neighbour. Times by the clock of this host, but for ``heard``.

    :ivar protocol: -1 not known yet; 0 plain, else the version of our extension.
    :ivar last_seen: when its last message came, by the clock of the worker that has seen it;
        grows with every message.
    :ivar clock_offset: seconds by which its clock is ahead of ours, as far as that is known;
        None when not measured.
    :ivar lag: seconds that its last message to this worker was under way.
    :ivar heard: when this process learned of its last message, on the monotonic clock.
    """

    protocol: int = -1
    plain_in_a_row: int = 0
    last_plain_at: float | None = None
    last_seen: float = 0.0
    cell_id: str | None = None
    clock_offset: float | None = None
    capabilities: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    capacities: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    heard: float = 0.0
    lag: float | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the neighbour understands what we add."""
        return self.protocol > 0


class Sightings:
    """The sightings of one worker. Thread-safe.

    :param mute_interval: seconds of silence that make a plain neighbour mute.
    :param extensions: False: this cell adds nothing to envelopes, so that it and all its
        neighbours are plain to each other.
    """

    def __init__(
        self, *, database: engine.Database, mute_interval: float, extensions: bool = True
    ) -> None:
        self._database = database
        self._mute_interval = mute_interval
        #: As given.
        self.extensions = extensions
        self._lock = threading.Lock()
        self._sightings: dict[str, Sighting] = {}
        self._unsaved: set[str] = set()
        self._unsaved_offsets: dict[str, float] = {}
        self._unsaved_reports: dict[str, dict[str, Any]] = {}
        self._versions: dict[str, int] = {}
        self._mute: set[str] = set()
        self._complained: set[str] = set()
        self._listeners: list[Callable[[str], None]] = []
        self._looked = time.monotonic()

    def get(self, name: str) -> Sighting:
        """Return what is known of a neighbour."""
        with self._lock:
            return dataclasses.replace(self._of(name))

    def offset(self, name: str) -> float:
        """Return by how many seconds the clock of a neighbour is ahead, 0 when unknown."""
        seen = self._sightings.get(name)
        return (seen.clock_offset or 0.0) if seen is not None else 0.0

    def is_ours(self, name: str) -> bool:
        """Tell whether a neighbour understands what we add."""
        seen = self._sightings.get(name)
        return seen is not None and seen.is_ours

    def is_plain(self, name: str) -> bool:
        """Tell whether a neighbour is a nova-cells, as is one that never says anything."""
        with self._lock:
            seen = self._of(name)
            if seen.protocol < 0:
                return time.monotonic() - seen.heard > STRANGER_SECONDS
            return not seen.is_ours

    def saw(
        self,
        name: str,
        protocol: int,
        cell_id: str | None = None,
        sent_at: float | None = None,
    ) -> str | None:
        """Note that an envelope came from a neighbour.

        :param protocol: the version of our extension, 0 for an envelope without.
        :param cell_id: what the envelope says of the sender's id.
        :param sent_at: when it was sent, by the sender's clock.
        :returns: None; or, when another cell lives under that name, that one's id (R13).
        """
        now, monotonic = time.time(), time.monotonic()
        with self._lock:
            seen = self._of(name)
            if cell_id is not None and seen.cell_id not in (None, cell_id):
                if monotonic - seen.heard <= MUTE_SECONDS:
                    return seen.cell_id
                LOG.warning('Cell %s has another id than before: %s', name, cell_id)
                seen.cell_id = None
            if cell_id is not None:
                seen.cell_id = cell_id
            # It must grow, or others would take it for old news when a clock is set back (D8).
            seen.last_seen, seen.heard = max(now, seen.last_seen + TICK), monotonic
            if sent_at is not None:
                # How far the clocks are apart is known to some milliseconds only.
                seen.lag = max(0.0, now + (seen.clock_offset or 0.0) - sent_at)
            if protocol:
                seen.protocol, seen.plain_in_a_row = protocol, 0
            else:
                seen.plain_in_a_row += 1
                seen.last_plain_at = now
                if not seen.is_ours or seen.plain_in_a_row >= PLAIN_AFTER:
                    seen.protocol = 0
            self._unsaved.add(name)
        return None

    def measured(self, name: str, offset: float, error: float) -> None:
        """Note by how many seconds the clock of a neighbour is ahead.

        What was known is corrected as far as the measurement proves it wrong, and beyond that
        the less the longer the answer was on its way: a cell that is busy for a while must not
        look like one whose clock is off, and one behind a slow link is known in the end.

        :param error: by how many seconds the measurement may be wrong.
        """
        with self._lock:
            seen = self._of(name)
            known = seen.clock_offset or 0.0
            before = abs(known) > OFFSET_ALARM
            proven = min(max(known, offset - error), offset + error)
            offset = proven + (offset - proven) / (1 + (error / TRUSTED_WAY) ** 2)
            seen.clock_offset = self._unsaved_offsets[name] = offset
        if abs(offset) > OFFSET_ALARM and not before:
            LOG.error('The clock of cell %s is %+.1f seconds off; mind its NTP', name, offset)

    def reported(self, name: str, what: str, value: Mapping[str, Any]) -> bool:
        """Take a report of a neighbour; returns whether it says something new.

        :param what: one of :data:`REPORTED`.
        """
        with self._lock:
            seen = self._of(name)
            if getattr(seen, what) == value:
                return False
            setattr(seen, what, value)
            self._unsaved_reports.setdefault(name, {})[what] = value
            return True

    def on_mute(self, listener: Callable[[str], None]) -> None:
        """Have a function called with the name of each neighbour that becomes mute."""
        self._listeners.append(listener)

    def is_mute(self, name: str) -> bool:
        """Tell whether a neighbour has been silent for too long."""
        with self._lock:
            seen = self._of(name)
            limit = min(MUTE_SECONDS, self._mute_interval) if seen.is_ours else self._mute_interval
            mute = time.monotonic() - seen.heard > limit
            if mute == (name in self._mute):
                return mute
            (self._mute.add if mute else self._mute.discard)(name)
        if mute:
            LOG.warning('Cell %s is mute: nothing came from it for %.0f seconds', name, limit)
            for listener in self._listeners:
                listener(name)
        else:
            LOG.info('Cell %s is not mute any more', name)
        return mute

    def complain(self) -> None:
        """Say once of each neighbour that nothing ever came from it."""
        now = time.monotonic()
        with self._lock:
            unheard = [
                name
                for name, seen in self._sightings.items()
                if not seen.last_seen
                and now - seen.heard > UNHEARD_SECONDS
                and name not in self._complained
            ]
            self._complained.update(unheard)
        for name in unheard:
            LOG.warning(
                'Nothing has ever come from cell %s. If it is not a nova-cells that has nothing to '
                'say, it is down, or does not know this cell, or refuses it because it knows '
                'another cell of this name',
                name,
            )

    def forget(self, keep: frozenset[str]) -> None:
        """Drop what is known of all but these neighbours."""
        with self._lock:
            for name in self._sightings.keys() - keep:
                del self._sightings[name]
                self._mute.discard(name)
                self._complained.discard(name)
                self._unsaved.discard(name)
                self._unsaved_offsets.pop(name, None)
                self._unsaved_reports.pop(name, None)
            # One that comes back is to have its reports again.
            self._versions = {}

    def exchange(self, versions: Mapping[str, int]) -> None:
        """Write what this worker learned and read what the others did.

        :param versions: the counters of :mod:`cells.db.changes`.
        :raises Exception: one of ``engine.ERRORS``; then nothing is lost.
        """
        self._save()
        found = db_neighbours.reports_get_all(self._database)
        fresh = versions.get(db_changes.REPORTS) != self._versions.get(db_changes.REPORTS)
        now, monotonic = time.time(), time.monotonic()
        with self._lock:
            for name, row in found.items():
                seen = self._sightings.get(name)
                if seen is None or seen.last_seen < row['last_seen']:
                    first = seen is None or not seen.last_seen
                    seen = self._of(name)
                    for key in SHARED:
                        setattr(seen, key, row[key])
                    if not self.extensions:
                        seen.protocol = 0  # it may be from before they were switched off
                    # After a restart the silence counts from the last message, not from now.
                    age = min(max(0.0, now - row['last_seen']), self._mute_interval * 2)
                    seen.heard = monotonic - age if first else monotonic
                if row['clock_offset'] is not None and name not in self._unsaved_offsets:
                    seen.clock_offset = row['clock_offset']
                if fresh:
                    self._take_reports(name, seen, row)
            self._looked = monotonic
        self._versions = dict(versions)

    def blind(self) -> None:
        """Take it that others' news could not be read: silence does not count meanwhile."""
        now = time.monotonic()
        with self._lock:
            for seen in self._sightings.values():
                seen.heard += now - self._looked
            self._looked = now

    def _take_reports(self, name: str, seen: Sighting, row: Mapping[str, Any]) -> None:
        for what in REPORTED:
            if what in self._unsaved_reports.get(name, ()):
                continue
            if row[what] is not None:
                setattr(seen, what, json.loads(row[what]))
            elif getattr(seen, what):
                # Its row was made anew: the others, and we after a restart, are to know it too.
                self._unsaved_reports.setdefault(name, {})[what] = getattr(seen, what)

    def _save(self) -> None:
        with self._lock:
            names, self._unsaved = self._unsaved, set()
            reports, self._unsaved_reports = self._unsaved_reports, {}
            offsets, self._unsaved_offsets = self._unsaved_offsets, {}
            rows = [
                {'name': name, **{key: getattr(self._sightings[name], key) for key in SHARED}}
                for name in sorted(names)
            ]
        try:
            if rows:
                db_neighbours.reports_save(self._database, rows)
            for name, values in reports.items():
                texts = {key: json.dumps(value) for key, value in values.items()}
                db_neighbours.report_store(self._database, name, texts)
            for name, offset in offsets.items():
                db_neighbours.offset_store(self._database, name, offset)
        except engine.ERRORS:
            with self._lock:
                self._unsaved |= names & self._sightings.keys()
                self._unsaved_offsets = {**offsets, **self._unsaved_offsets}
                for name, values in reports.items():
                    self._unsaved_reports[name] = {
                        **values,
                        **self._unsaved_reports.get(name, {}),
                    }
            raise

    def _of(self, name: str) -> Sighting:
        seen = self._sightings.get(name)
        if seen is None:
            protocol = -1 if self.extensions else 0
            seen = self._sightings[name] = Sighting(protocol, heard=time.monotonic())
        return seen
