"""Timing calls, and what is made of the times."""

import dataclasses
import statistics
import threading
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of calls.

    :ivar p50: and ``p95``: seconds of a call.
    :ivar rate: calls per second.
    """

    p50: float
    p95: float
    rate: float


def block(call: Callable[[], object], in_flight: int, seconds: float, least: int) -> Block:
    """Call as often as fits into some seconds, at least so often, and so many at a time."""
    times: list[float] = []
    errors: list[Exception] = []
    until = time.perf_counter() + seconds
    lock = threading.Lock()

    def run() -> None:
        mine = []
        try:
            while time.perf_counter() < until or len(times) + len(mine) < least:
                begun = time.perf_counter()
                call()
                mine.append(time.perf_counter() - begun)
        except Exception as error:  # noqa: BLE001 - raised below, in the main thread
            errors.append(error)
        with lock:
            times.extend(mine)

    begun = time.perf_counter()
    threads = [threading.Thread(target=run) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    elapsed = time.perf_counter() - begun
    times.sort()
    return Block(statistics.median(times), times[int(len(times) * 0.95)], len(times) / elapsed)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio of two cases, one value for each repetition."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return '%.2f (%.2f to %.2f)' % (self.median, min(self.values), max(self.values))


def ratio(ours: list[float], other: list[float]) -> Ratio:
    """Return the ratio of two cases, repetition by repetition."""
    return Ratio(tuple(a / b for a, b in zip(ours, other, strict=True)))
