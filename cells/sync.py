"""The way upwards: what happens to instances of this cell gets to the cells above.

The dirty set says what they do not know yet (:mod:`cells.db.dirty`). Each worker claims some of
it, reads what is so now, sends it, and drops what they have. Nothing is lost when a process, a
broker or a database dies at any moment: the rows are the memory. Nothing is harmed when
something is sent twice or late: each state of an instance has a count, and the newest wins.

A parent of our kind gets up to 50 instances in a question, several of which are on their way at
a time, and answers for each. A plain one, or one with a plain one above it, gets one message for
each change, as a nova-cells would send, and one more some seconds after the last: what comes to
it in the wrong order is right then.
"""

import functools
import itertools
import logging
import threading
import time
import uuid as uuids
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from cells import json_text, plain_reports, sync_batches
from cells.db import engine, snapshots, unsent
from cells.db.snapshots import Marks
from cells.messages import Response
from cells.messaging import MessageRunner
from cells.parent_links import ParentLink
from cells.patience import Patience
from cells.state import CellStateManager
from cells.stats import Stats
from cells.sync_batches import Batch, Kind, Outcome, Reply
from cells.sync_ends import Ends

LOG = logging.getLogger(__name__)

#: Batches that are on their way at a time.
MOST_BATCHES: Final = 4
#: Seconds that an answer may take, and after which what was claimed may be sent by another.
ANSWER_SECONDS: Final = 20.0
CLAIM_SECONDS: Final = 90.0
POLL_SECONDS: Final = 1.0
#: Seconds that something may wait for more of its kind.
LINGER: Final = 0.02
#: Seconds between two messages of an instance to a plain parent, at least.
APART: Final = 0.2


class UpSync:
    """The way upwards, as one worker goes it.

    :param worker: the server name of this worker, unique among the living.
    :param object_release: at whose versions objects go to plain parents.
    """

    def __init__(
        self,
        *,
        database: engine.Database,
        worker: str,
        runner: MessageRunner,
        state: CellStateManager,
        stats: Stats,
        object_release: str,
        max_message_bytes: int,
    ) -> None:
        self._database = database
        self._worker = worker
        self._runner = runner
        self._state = state
        self._stats = stats
        self._object_release = object_release
        self._most_bytes = max_message_bytes // 2
        self._prefix = '%s%s%s.' % (worker, unsent.MARK, uuids.uuid4().hex[:8])
        self._numbers = itertools.count()
        self._links: dict[str, ParentLink] = {}
        self._ends = Ends(database=database, stats=stats)
        self._stopped = threading.Event()
        self._wakeup = threading.Condition(threading.Lock())
        self._woken = False
        self._on_way = 0
        self._ended: list[Batch] = []
        self._thread = threading.Thread(target=self._run, name='sync', daemon=True)

    def start(self) -> None:
        """Free what an earlier process in this slot had claimed, and begin."""
        Patience('The way upwards', self._stopped).insist(self._release)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more; what was not confirmed is sent again by whoever comes next."""
        self._stopped.set()
        self.wake()
        if not self._thread.is_alive():
            return
        self._thread.join(5)
        try:
            self._release()
        except engine.ERRORS as error:
            LOG.info('What was being sent is not given back: %s', engine.brief(error))

    def _release(self) -> None:
        with self._database.write() as connection:
            unsent.release_all(connection, self._worker)

    def wake(self) -> None:
        """Look for work now. Any thread."""
        with self._wakeup:
            self._woken = True
            self._wakeup.notify()

    def status(self) -> dict[str, Any]:
        """Return what waits, and how each parent does, as this worker knows it."""
        return {
            'waiting': unsent.summary(self._database),
            'batches': self._on_way,
            'parents': self.parents(),
        }

    def parents(self) -> list[dict[str, Any]]:
        """Return how each parent does, as this worker knows it."""
        return [self._link(name).status() for name in self._state.topology.parents]

    # -- the thread --

    def _run(self) -> None:
        patience = Patience('The way upwards', self._stopped)
        while True:
            with self._wakeup:
                if not self._woken and not self._stopped.is_set():
                    self._wakeup.wait(POLL_SECONDS)
                self._woken = False
            if not self._on_way:
                self._stopped.wait(LINGER)
            try:
                self._note()
                while not self._stopped.is_set() and self._turn():
                    self._note()
                if self._stopped.is_set():
                    return
            except engine.ERRORS as error:
                if self._stopped.is_set():
                    return
                patience.wait(error)
            except Exception:  # noqa: BLE001 - without this thread the cells above go blind
                LOG.exception('The way upwards met what it does not know, going on')
                self._stopped.wait(POLL_SECONDS)
            else:
                patience.succeeded()

    def _turn(self) -> bool:
        """Send what is due, as far as there is room; tell whether there may be more."""
        self._stats.beat('sync')
        links = [self._link(name) for name in self._state.topology.parents]
        room = MOST_BATCHES - self._on_way
        if not links or room <= 0 or all(link.pause for link in links):
            return False
        if not unsent.due(self._database):
            return False
        token, limit = self._prefix + str(next(self._numbers)), room * sync_batches.SIZE
        with self._database.write() as connection:
            rows = unsent.claim(connection, token, CLAIM_SECONDS, limit)
        if not rows:
            return False
        self._send(token, snapshots.marks_of(rows), links)
        return len(rows) == limit

    def _link(self, name: str) -> ParentLink:
        link = self._links.get(name)
        if link is None:
            link = self._links.setdefault(name, ParentLink(name, self._state))
        return link

    def _send(self, token: str, marks: dict[str, Marks], links: Sequence[ParentLink]) -> None:
        ready = [link for link in links if not link.pause]
        plain = [link.name for link in ready if link.is_plain]
        ours = [link.name for link in ready if link.name not in plain]
        if plain:
            self._postpone(token, marks)
        texts, reports, bad = self._read(marks, bool(ours), bool(plain))
        forms = {link.name: link.name in plain for link in links}
        for uuid, reason in bad.items():
            batch = self._batch(token, {uuid: marks[uuid]}, forms)
            for name in forms:
                batch.report(name, Reply.FAILED, batch.all(Outcome(Kind.POISONOUS, reason)), reason)
        sizes = {uuid: len(texts.get(uuid, b'')) for uuid in marks if uuid not in bad}
        for group in sync_batches.groups(marks, sizes, self._most_bytes):
            batch = self._batch(token, {uuid: marks[uuid] for uuid in group}, forms)
            for link in links:
                if link.name in ours:
                    self._ask(batch, link.name, texts)
                elif link.name in plain:
                    self._tell(batch, link.name, {uuid: reports.get(uuid, []) for uuid in group})
                else:
                    batch.report(link.name, Reply.ABSENT, {}, 'it is left alone for a while')

    def _postpone(self, token: str, marks: dict[str, Marks]) -> None:
        """Give back instances of which a plain parent was told just now."""
        with self._database.write() as connection:
            for uuid, seconds in unsent.closing_in(connection, list(marks)).items():
                early = seconds - (self._ends.CLOSE_SECONDS - APART)
                if early > 0 and marks[uuid].at is not None:
                    unsent.release(connection, token, [uuid], early)
                    # What was marked again since is not claimed any more, and waits as well.
                    unsent.release_marked(connection, [uuid], early)
                    del marks[uuid]

    def _batch(self, token: str, marks: dict[str, Marks], forms: Mapping[str, bool]) -> Batch:
        with self._wakeup:
            self._on_way += 1
        return Batch(token, marks, forms, self._over)

    def _over(self, batch: Batch) -> None:
        with self._wakeup:
            self._on_way -= 1
            self._ended.append(batch)
            self._woken = True
            self._wakeup.notify()

    def _note(self) -> None:
        with self._wakeup:
            ended, self._ended = self._ended, []
        if not ended:
            return
        try:
            for batch in ended:
                self._judge(batch)
            self._ends.note(ended)
        except engine.ERRORS:
            with self._wakeup:
                self._ended = ended + self._ended
            raise

    def _judge(self, batch: Batch) -> None:
        """Take what parents said to a batch, once."""
        for name, (reply, reason) in batch.replies.items():
            link = self._link(name)
            heard = self._state.sighting(name).heard > batch.begun
            if link.take(reply, reason, heard):
                for uuid, outcome in batch.outcomes.items():
                    if outcome.kind is Kind.NOT_SENT:
                        batch.outcomes[uuid] = Outcome(Kind.FAILED, reason)
            if reply is Reply.ANSWERED:
                link.confirmed_at = time.time()
            batch.pause = max(batch.pause, link.pause)
        batch.replies.clear()

    # -- reading --

    def _read(
        self, marks: Mapping[str, Marks], ours: bool, plain: bool
    ) -> tuple[dict[str, bytes], dict[str, list[plain_reports.Report]], dict[str, str]]:
        """Return what is to be told: items as JSON, messages, and of what cannot be, why not."""
        try:
            return (*self._read_now(marks, ours, plain), {})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            if len(marks) == 1:
                [uuid] = marks
                return {}, {}, {uuid: '%s: %s' % (type(error).__name__, error)}
        # One of them cannot be read: it must not keep the others.
        texts: dict[str, bytes] = {}
        reports: dict[str, list[plain_reports.Report]] = {}
        bad: dict[str, str] = {}
        for uuid, one in marks.items():
            found = self._read({uuid: one}, ours, plain)
            texts.update(found[0])
            reports.update(found[1])
            bad.update(found[2])
        return texts, reports, bad

    def _read_now(
        self, marks: Mapping[str, Marks], ours: bool, plain: bool
    ) -> tuple[dict[str, bytes], dict[str, list[plain_reports.Report]]]:
        texts: dict[str, bytes] = {}
        reports: dict[str, list[plain_reports.Report]] = {}
        with self._database.read() as connection:
            if ours:
                for uuid, item in snapshots.read(connection, marks).items():
                    texts[uuid] = _text(item)
                    if len(texts[uuid]) > self._most_bytes:
                        raise ValueError(
                            'it has %d bytes, a message no more than %d'
                            % (len(texts[uuid]), self._most_bytes)
                        )
            if plain:
                reports = plain_reports.read(connection, marks, self._object_release)
        return texts, reports

    # -- sending --

    def _ask(self, batch: Batch, parent: str, texts: Mapping[str, bytes]) -> None:
        told = {uuid: marks for uuid, marks in batch.marks.items() if uuid in texts}
        # What is marked and not there any more need not be told.
        gone = dict.fromkeys(batch.marks.keys() - told.keys(), sync_batches.CONFIRMED)
        if not told:
            batch.report(parent, Reply.ANSWERED, gone)
            return
        self._stats.count('sync_asked', neighbour=parent)
        kwargs = {'items': [orjson.Fragment(texts[uuid]) for uuid in told]}

        def on_complete(responses: Sequence[Response] | None) -> None:
            reply, outcomes, reason = sync_batches.read_answer(told, responses)
            batch.report(parent, reply, {**outcomes, **gone}, reason)

        self._runner.ask_above(sync_batches.OPERATION, parent, kwargs, ANSWER_SECONDS, on_complete)

    def _tell(
        self, batch: Batch, parent: str, reports: Mapping[str, list[plain_reports.Report]]
    ) -> None:
        told = _Told(batch, parent, sum(map(len, reports.values())))
        for uuid, some in reports.items():
            for report in some:
                self._stats.count('sync_told', neighbour=parent)
                self._runner.tell_above(
                    report.operation,
                    parent,
                    report.kwargs,
                    functools.partial(told.one, uuid),
                    report.pair,
                )


class _Told:
    """Counts the messages of a batch to a plain parent that its broker has, or has not."""

    def __init__(self, batch: Batch, parent: str, number: int) -> None:
        self._batch = batch
        self._parent = parent
        self._left = number
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()
        if not number:
            self._end()

    def one(self, uuid: str, error: Exception | None) -> None:
        """Take what became of a message. Any thread."""
        with self._lock:
            if error is not None:
                self._failed[uuid] = str(error)
            self._left -= 1
            over = not self._left
        if over:
            self._end()

    def _end(self) -> None:
        outcomes = self._batch.all(sync_batches.CONFIRMED)
        outcomes.update(dict.fromkeys(self._failed, sync_batches.NOT_SENT))
        if self._failed:
            self._batch.report(
                self._parent, Reply.ABSENT, outcomes, next(iter(self._failed.values()))
            )
        else:
            self._batch.report(self._parent, Reply.ANSWERED, outcomes)


def _text(item: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(item)
    except orjson.JSONEncodeError:
        return json_text.dumps(item).encode()
