"""The choice of a cell for each instance: values in, values out.

1. A cell that is drained, or was tried, or that a filter refuses, is out, with a reason.
2. Each weigher gives the others a number. Most are brought to 0 .. 1, from the least to
   the most among these cells (all 0 when they are equal), multiplied, and added up;
   ``weight_scale`` of the cell multiplies the sum. ``weight_offset`` is added as it is.
3. The highest comes first; of equals the one with the fewest builds on their way, then
   the one that was named first.

What is given out counts for the next request at once, so that equal cells share (C4).
Nothing is kept from one call to the next (C5).
"""

import dataclasses
import functools
import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cells.candidates import NO_LOAD, Cell, Load, Request
from cells.filters.base import CellFilter
from cells.weights.base import CellWeigher

DRAINED: Final = 'it takes no new instances (it is drained, or has [cells] enabled = no)'
TRIED: Final = 'it was tried before'

#: Cells of each kind that an explanation names.
MOST_WEIGHED: Final = 5
MOST_REFUSED: Final = 20


class Refusal(NamedTuple):
    """Why a cell may not take an instance.

    :ivar by_load: whether it might if nothing were on its way there: that passes.
    """

    reason: str
    by_load: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Weighed:
    """What a cell that may take an instance weighed.

    :ivar parts: what each weigher said, by its name, before it was brought to 0 .. 1.
    """

    cell: str
    weight: float
    parts: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """Why a cell was chosen, as far as people need to know.

    :ivar weighed: the first of those that might have taken it, best first.
    :ivar refused: of some of the others, the name of the filter and its reason.
    :ivar numbers: how many there were of both.
    """

    weighed: tuple[Weighed, ...]
    refused: Mapping[str, tuple[str, str]]
    numbers: tuple[int, int]


class Choice(NamedTuple):
    """The cell for an instance; None when there is none, and then why each may not take it."""

    cell: str | None
    refusals: Mapping[str, Refusal]
    explanation: Explanation | None = None


class Ranking(NamedTuple):
    """The cells that may take an instance, best first, and why the others may not."""

    cells: tuple[Cell, ...]
    refusals: Mapping[str, Refusal]


def crowded(choice: Choice) -> Explanation:
    """Return why each cell was full when an instance was given to one all the same."""
    refused = {name: ('', why.reason) for name, why in choice.refusals.items()}
    return Explanation((), dict(itertools.islice(refused.items(), MOST_REFUSED)), (0, len(refused)))


class CellsScheduler:
    """Chooses cells. Thread-safe, as it keeps nothing.

    :param filters: asked in this order; the first that refuses a cell gives the reason.
    """

    def __init__(self, filters: Sequence[CellFilter], weighers: Sequence[CellWeigher]) -> None:
        self.filters = tuple(filters)
        self.weighers = tuple(weighers)

    def rank(self, request: Request, cells: Sequence[Cell], loads: Mapping[str, Load]) -> Ranking:
        """Return the cells that may take an instance, best first.

        :param loads: what is on its way, by name of the cell.
        :raises Invalid: the hints cannot be understood.
        """
        contest = _Contest(self.filters, self.weighers, request, cells, dict(loads))
        return Ranking(contest.order(), contest.refusals)

    def choose(
        self, requests: Iterable[Request], cells: Sequence[Cell], loads: Mapping[str, Load]
    ) -> list[Choice]:
        """Return the cell for each of several instances, which all are on their way then.

        The same as the first of :meth:`rank` for one after the other.

        :raises Invalid: the hints cannot be understood.
        """
        now = dict(loads)
        contests: dict[object, tuple[_Contest, int]] = {}
        given: list[str] = []
        choices = []
        for request in requests:
            contest, seen = contests.get(request.kind, (None, 0))
            if contest is None:
                contest = _Contest(self.filters, self.weighers, request, cells, now)
            else:
                for name in dict.fromkeys(given[seen:]):
                    contest.note(name)
            best = contest.best()
            if best is None:
                choices.append(Choice(None, dict(contest.refusals)))
            else:
                choices.append(Choice(best.name, {}, contest.explain(best.name)))
                now[best.name] = now.get(best.name, NO_LOAD).plus(request)
                contest.note(best.name)
                given.append(best.name)
            contests[request.kind] = contest, len(given)
        return choices


class _Contest:
    """The cells as requests of one kind see them, kept up to date as builds are given out.

    :param loads: changed by the caller, who tells it by :meth:`note`.
    """

    def __init__(
        self,
        filters: Sequence[CellFilter],
        weighers: Sequence[CellWeigher],
        request: Request,
        cells: Sequence[Cell],
        loads: Mapping[str, Load],
    ) -> None:
        self._filters = filters
        self._loaded_filters = [one for one in filters if one.by_load]
        self._weighers = weighers
        self._moving = [one for one in weighers if one.by_load and one.normalised]
        self._request = request
        self._loads = loads
        self.refusals: dict[str, Refusal] = {}
        self._out: dict[str, Cell] = {}
        self._refused_by: dict[str, str] = {}
        self._cells: list[Cell] = []
        for cell in cells:
            refusal = self._refusal(cell)
            if refusal is None:
                self._cells.append(cell)
            else:
                self._put_out(cell, refusal)
        self._weigh()

    def best(self) -> Cell | None:
        """Return the cell that comes first; None when no one may take the instance."""
        if not self._cells:
            return None
        totals = self._last = self._totals(self._sums())
        if len(self._cells) == 1:
            return self._cells[0]
        most = max(totals)
        if totals.count(most) == 1:
            return self._cells[totals.index(most)]
        return self.order()[0]

    def explain(self, chosen: str) -> Explanation:
        """Return why :meth:`best` returned what it did last.

        :param chosen: the name of that cell, which comes first whatever else is equal.
        """
        names = [cell.name for cell in self._cells]
        indexes = [self._places[chosen]]
        if len(names) > 1:
            best = heapq.nlargest(MOST_WEIGHED, range(len(names)), key=self._last.__getitem__)
            indexes += [index for index in best if index != indexes[0]]
        weighed = []
        for index in indexes[:MOST_WEIGHED]:
            cell, load = self._cells[index], self._load(self._cells[index])
            parts = {_name_of(one): one.weight(self._request, cell, load) for one in self._weighers}
            weighed.append(Weighed(cell.name, self._last[index], parts))
        refused = {
            name: (self._refused_by.get(name, ''), self.refusals[name].reason)
            for name in itertools.islice(self.refusals, MOST_REFUSED)
        }
        return Explanation(tuple(weighed), refused, (len(names), len(self.refusals)))

    def order(self) -> tuple[Cell, ...]:
        """Return all that may take the instance, best first."""
        sums = self._sums()
        totals = self._totals(sums)

        def key(index: int) -> tuple[float, float, int, int]:
            # An offset can be so large that what else there is vanishes beside it.
            builds = self._load(self._cells[index]).builds
            return -totals[index], -sums[index], builds, index

        return tuple(self._cells[index] for index in sorted(range(len(self._cells)), key=key))

    def note(self, name: str) -> None:
        """Take it that more is on its way to a cell."""
        index = self._places.get(name)
        if index is None:
            # It is out already; more on its way does not bring it back, but may be why.
            self.refusals[name] = self._refusal(self._out[name]) or self.refusals[name]
            return
        cell = self._cells[index]
        if self._refused(self._loaded_filters, cell, self._load(cell)) is not None:
            self._put_out(cell, self._refusal(cell) or Refusal('', by_load=True))
            del self._cells[index]
            self._weigh()
            return
        for weigher, numbers in zip(self._moving, self._numbers, strict=True):
            numbers[index] = weigher.weight(self._request, cell, self._load(cell))
        self._offsets[index] = self._offset(cell)

    # -- who is out --

    def _put_out(self, cell: Cell, refusal: Refusal) -> None:
        self.refusals[cell.name] = refusal
        self._out[cell.name] = cell

    def _refusal(self, cell: Cell) -> Refusal | None:
        if cell.is_drained:
            return Refusal(DRAINED)
        if cell.name in self._request.tried:
            return Refusal(TRIED)
        reason = self._refused(self._filters, cell, self._load(cell))
        if reason is None:
            return None
        return Refusal(reason, by_load=self._refused(self._filters, cell, NO_LOAD) is None)

    def _refused(self, filters: Iterable[CellFilter], cell: Cell, load: Load) -> str | None:
        for one in filters:
            reason = one.refusal(self._request, cell, load)
            if reason is not None:
                self._refused_by[cell.name] = _name_of(one)
                return reason
        return None

    def _load(self, cell: Cell) -> Load:
        return self._loads.get(cell.name, NO_LOAD)

    # -- what the others weigh --

    def _weigh(self) -> None:
        """Work out everything; what changes with the load is kept apart."""
        self._places = {cell.name: index for index, cell in enumerate(self._cells)}
        self._scales = [max(0.0, cell.weight_scale) for cell in self._cells]
        self._numbers = [self._raw(weigher) for weigher in self._moving]
        self._offsets = [self._offset(cell) for cell in self._cells]
        self._fixed = [0.0] * len(self._cells)
        for weigher in self._weighers:
            if weigher.normalised and not weigher.by_load:
                self._fixed = _added(self._fixed, self._raw(weigher), weigher.multiplier)

    def _raw(self, weigher: CellWeigher) -> list[float]:
        return [weigher.weight(self._request, cell, self._load(cell)) for cell in self._cells]

    def _offset(self, cell: Cell) -> float:
        load = self._load(cell)
        return sum(
            weigher.multiplier * weigher.weight(self._request, cell, load)
            for weigher in self._weighers
            if not weigher.normalised
        )

    def _sums(self) -> list[float]:
        sums = self._fixed
        for weigher, numbers in zip(self._moving, self._numbers, strict=True):
            sums = _added(sums, numbers, weigher.multiplier)
        return [scale * one for scale, one in zip(self._scales, sums, strict=True)]

    def _totals(self, sums: Sequence[float]) -> list[float]:
        return [one + offset for one, offset in zip(sums, self._offsets, strict=True)]


@functools.lru_cache(maxsize=64)
def _named(cls: type) -> str:
    return cls.__module__.rpartition('.')[2]


def _name_of(plugin: CellFilter | CellWeigher) -> str:
    """Return what people know a plugin by: one has a file, and that its name."""
    return _named(type(plugin))


def _added(sums: list[float], numbers: Sequence[float], multiplier: float) -> list[float]:
    """Return sums with numbers added that are brought to 0 .. ``multiplier`` before."""
    if not numbers:
        return sums
    least, most = min(numbers), max(numbers)
    if least == most:
        return sums
    factor = multiplier / (most - least)
    return [one + (number - least) * factor for one, number in zip(sums, numbers, strict=True)]
