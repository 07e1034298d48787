"""The pages of a daemon: /healthz, /readyz and /metrics."""

from collections.abc import Callable, Iterator
from typing import Any

import prometheus_client
from prometheus_client import Metric, registry

from cells.monitor import health, http, metrics
from cells.readings import Reader, Reading


class Pages:
    """Makes the pages.

    :param read_workers: see :func:`cells.published.read`.
    :param expected: how many workers there should be.
    :param database: of the cell; None for an agent, which has none.
    """

    def __init__(
        self,
        *,
        read_workers: Callable[[], list[dict[str, Any]]],
        expected: int,
        wedged_after: float,
        database: Reader | None,
    ) -> None:
        self._read_workers = read_workers
        self._expected = expected
        self._wedged_after = wedged_after
        self._database = database

    def by_path(self) -> dict[str, http.Page]:
        """Return the pages by their paths."""
        return {'/healthz': self.healthz, '/readyz': self.readyz, '/metrics': self.metrics}

    def healthz(self) -> tuple[int, str, bytes]:
        """Tell whether the daemon has to be started anew."""
        verdict = self._judge(self._read_workers(), None)
        return http.as_json(
            503 if verdict.dead else 200, {'healthy': not verdict.dead, 'wrong': verdict.dead}
        )

    def readyz(self) -> tuple[int, str, bytes]:
        """Tell whether it does what it is there for, and if not, why."""
        workers, reading = self._read_workers(), self._reading()
        verdict = self._judge(workers, reading.error)
        found = {
            'ready': not verdict.wrong,
            'wrong': verdict.wrong,
            'warnings': verdict.warnings,
            'workers': {worker['worker']: worker['doing'] for worker in workers},
        }
        if workers:
            found[workers[0]['kind']] = workers[0]['name']
        if any(worker.get('drained') for worker in workers):
            found['drained'] = True
        known = health.neighbours(workers)
        if known:
            found['neighbours'] = {name: _neighbour(views) for name, views in known.items()}
        return http.as_json(503 if verdict.wrong else 200, found)

    def metrics(self) -> tuple[int, str, bytes]:
        """Return what Prometheus reads."""
        found = registry.CollectorRegistry(auto_describe=False)
        found.register(_Collector(self._families))
        content = prometheus_client.generate_latest(found)
        return 200, prometheus_client.CONTENT_TYPE_LATEST, content

    def _families(self) -> Iterator[Metric]:
        workers, reading = self._read_workers(), self._reading()
        return metrics.families(
            workers,
            expected=self._expected,
            verdict=self._judge(workers, reading.error),
            database=reading.error,
            figures=reading.values,
            with_database=self._database is not None,
        )

    def _reading(self) -> Reading:
        return Reading() if self._database is None else self._database.read()

    def _judge(self, workers: list[dict[str, Any]], database: str | None) -> health.Verdict:
        return health.judge(
            workers,
            expected=self._expected,
            wedged_after=self._wedged_after,
            database=database,
        )


class _Collector(registry.Collector):
    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        return self._collect()


def _neighbour(views: list[Any]) -> str:
    """Return how a neighbour does, in a word or two."""
    if any(one['mute'] for one in views):
        return 'mute'
    if any(one['link_up'] is False for one in views):
        return 'cannot be reached'
    if any(one['drained'] for one in views):
        return 'drained'
    return 'up' if any(one['last_seen'] for one in views) else 'never heard of'
