"""Some instances of this cell, compared with the records in the cells above.

What differs is marked, so that it is told again; so are what there is no record of, and what
is deleted here and not above. What the top has and this cell never had, the top is told (S4).
"""

import dataclasses
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cells import exceptions, remote_errors
from cells.db import contents, engine, healing
from cells.db.contents import Content
from cells.db.walks import Page
from cells.handlers import compare
from cells.messages import Response
from cells.messaging import MessageRunner
from cells.stats import Stats

LOG = logging.getLogger(__name__)

OPERATION: Final = 'x_instances_compare'
#: Seconds that an answer may take.
ANSWER_SECONDS: Final = 20.0
#: What has changed less than so many seconds ago may be on its way.
SETTLE_SECONDS: Final = 10.0

#: How many that cannot be compared a line of the log names.
MOST_NAMED: Final = 3
#: What of an answer says that a record is not as the instance.
DRIFT: Final = (compare.DIFFER, compare.GONE, compare.MISSING, compare.EXTRA)

_NUMBERS: Final = {name: number for number, name in enumerate(contents.KEPT)}


class NotCompared(exceptions.CellsError):
    """Raised when the cells above did not answer."""

    msg_fmt = '%(reason)s'


class Unreadable(NotCompared):
    """Raised when something of these instances cannot be read in a cell above, now or later."""


class PlainAbove(NotCompared):
    """Raised when the cells above cannot compare, as one of them is a plain nova-cells."""


#: How it shows that something of an instance cannot be read.
UNREADABLE: Final = (Unreadable, *engine.ERRORS, ValueError, TypeError)


@dataclasses.dataclass(frozen=True, slots=True)
class Compared:
    """What came of a comparison.

    :ivar looked_at: how many instances were compared.
    :ivar repaired: how many are told again.
    :ivar unsettled: those that may differ as they have just changed.
    """

    looked_at: int
    repaired: int
    unsettled: frozenset[str] = frozenset()


class Comparison:
    """Compares for one worker."""

    def __init__(self, *, database: engine.Database, runner: MessageRunner, stats: Stats) -> None:
        self._database = database
        self._runner = runner
        self._stats = stats

    def compare(
        self, parents: Sequence[str], uuids: Sequence[str], page: Page | None = None
    ) -> Compared:
        """Compare instances, and mark what is to be told again.

        One of which something cannot be read, here or above, does not keep the others from it.

        :param parents: of our own kind.
        :param page: when they are all instances of this range.
        :raises NotCompared: the cells above did not answer; PlainAbove when they cannot.
        """
        try:
            return self._compare(parents, uuids, page)
        except UNREADABLE as error:
            _check_unreadable(error)
        looked_at = repaired = 0
        unsettled: set[str] = set()
        bad: dict[str, str] = {}
        for uuid in uuids:
            try:
                found = self._compare(parents, [uuid])
            except UNREADABLE as error:
                _check_unreadable(error)
                bad[uuid] = engine.brief(error)
                continue
            looked_at += found.looked_at
            repaired += found.repaired
            unsettled |= found.unsettled
        if page is not None and len(bad) < len(uuids):
            # What the cells above have in this range beside these.
            repaired += self._compare(parents, [], page).repaired
        self._stats.count('instances_unreadable', len(bad))
        LOG.error(
            '%d of %d instances cannot be compared with the cells above: %s',
            len(bad),
            len(uuids),
            '; '.join('%s: %s' % pair for pair in list(bad.items())[:MOST_NAMED]),
        )
        return Compared(looked_at, repaired, frozenset(unsettled))

    def _compare(
        self, parents: Sequence[str], uuids: Sequence[str], page: Page | None = None
    ) -> Compared:
        with self._database.read() as connection:
            unsettled = healing.unsettled(connection, uuids, SETTLE_SECONDS)
            settled = [uuid for uuid in uuids if uuid not in unsettled]
            known = contents.contents(connection, settled)
        question: dict[str, Any] = {'items': [_item(one) for one in known.values()]}
        if page is not None:
            question.update(after=page.after, until=page.until, whole=True)
        found: dict[str, set[str]] = {}
        for parent in parents:
            answer = self._ask(parent, question)
            self._stats.count(
                'drift_found', sum(len(answer.get(what, ())) for what in DRIFT), neighbour=parent
            )
            for what, named in answer.items():
                found.setdefault(what, set()).update(named)
        repaired, unknown = self._mark(known, found)
        for parent in parents if unknown else ():
            self._ask(parent, {'items': [], 'unknown': unknown})
        for parent in parents:
            self._stats.count('drift_repaired', repaired + len(unknown), neighbour=parent)
        self._stats.count('instances_looked_at', len(known))
        self._stats.count('instances_told_again', repaired)
        if found.get(compare.REFUSED):
            self._stats.count('instances_of_others', len(found[compare.REFUSED]))
        return Compared(len(known), repaired + len(unknown), unsettled)

    def _ask(self, parent: str, question: Mapping[str, Any]) -> dict[str, set[str]]:
        """Return what a parent, or who is above it, answers."""
        came = threading.Event()
        responses: list[Response] = []

        def complete(answers: Sequence[Response] | None) -> None:
            responses.extend(answers or ())
            came.set()

        self._runner.ask_above(OPERATION, parent, question, ANSWER_SECONDS, complete)
        came.wait(ANSWER_SECONDS + 1)
        answers = [one.value for one in responses if isinstance(one.value, dict)]
        if not answers:
            raise _not_compared(parent, responses)
        found: dict[str, set[str]] = {}
        for answer in answers:
            for what, named in answer.items():
                if isinstance(named, list):
                    found.setdefault(what, set()).update(str(one) for one in named)
        return found

    def _mark(
        self, known: Mapping[str, Content], found: Mapping[str, set[str]]
    ) -> tuple[int, list[str]]:
        """Mark what differs; return how many that are, and what was never here."""
        named = {
            what: found.get(what, set()) & known.keys()
            for what in (compare.DIFFER, compare.GONE, compare.MISSING)
        }
        again = {uuid: known[uuid].at for uuids in named.values() for uuid in uuids}
        extra = found.get(compare.EXTRA, set())
        if not again and not extra:
            return 0, []
        with self._database.write() as connection:
            told = healing.tell_again(connection, again)
            healing.tell_history(connection, named[compare.MISSING].intersection(told))
            here = healing.deleted_here(connection, extra)
            gone = {uuid: None for uuid, deleted in here.items() if deleted}
            told += healing.tell_again(connection, gone)
        return len(told), sorted(extra - here.keys())


def _check_unreadable(error: Exception) -> None:
    """Raise an error again that may pass."""
    if isinstance(error, engine.ERRORS) and engine.is_transient(error):
        raise error


def _item(content: Content) -> list[Any]:
    return [content.uuid, content.digest, [_NUMBERS[name] for name in sorted(content.absent)]]


def _not_compared(parent: str, responses: Sequence[Response]) -> NotCompared:
    for response in responses:
        if response.failure is not None:
            reason = '%s: %s' % (response.cell_name, response.failure.message)
            if remote_errors.is_unknown_operation(response.failure, OPERATION):
                return PlainAbove(reason=reason)
            if response.failure.module != remote_errors.MODULE:
                # None of the errors that a cell has for what passes.
                return Unreadable(reason=reason)
            return NotCompared(reason=reason)
    return NotCompared(reason='cell %s did not answer' % parent)
