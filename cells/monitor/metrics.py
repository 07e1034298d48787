"""What Prometheus reads: the workers' counters by worker, what they share once for the cell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from cells import published, stats
from cells.monitor import health
from cells.monitor.counters import COUNTERS, HISTOGRAMS, OTHER

PREFIX = 'cells_'


class Gauges:
    """Gauges by name, each with its text, as they are found."""

    def __init__(self) -> None:
        self._families: dict[str, GaugeMetricFamily] = {}

    def set(self, name: str, text: str, value: float, **labels: str) -> None:
        """Give a gauge a value."""
        family = self._families.get(name)
        if family is None:
            family = GaugeMetricFamily(PREFIX + name, text, labels=list(labels))
            self._families[name] = family
        family.add_metric(list(labels.values()), value)

    def families(self) -> Iterable[Metric]:
        """Return all."""
        return self._families.values()


def families(
    workers: Sequence[health.Vitals],
    *,
    expected: int,
    verdict: health.Verdict,
    database: str | None,
    figures: Mapping[str, Any] | None,
    with_database: bool,
) -> Iterator[Metric]:
    """Yield all metrics of a daemon.

    :param database: why the database does not answer; None when it does.
    :param figures: see :func:`cells.db.figures.figures`; None when there are none.
    :param with_database: whether this daemon has one.
    """
    gauges = Gauges()
    gauges.set('workers_expected', 'Workers that are to run.', expected)
    gauges.set('ready', 'Whether /readyz finds nothing wrong.', not verdict.wrong)
    gauges.set('healthy', 'Whether /healthz finds nothing wrong.', not verdict.dead)
    for worker in workers:
        _of_worker(gauges, worker)
    if with_database:
        gauges.set('database_up', 'Whether the database of the cell answers.', database is None)
    if figures is not None:
        _of_database(gauges, figures, sorted(health.neighbours(workers)))
    yield from gauges.families()
    yield from _counters(workers)
    yield from _histograms(workers)


def _of_worker(gauges: Gauges, worker: health.Vitals) -> None:
    name = worker['worker']
    gauges.set(
        'worker_serving',
        'Whether a worker does what it is there for.',
        worker['doing'] == published.SERVES,
        worker=name,
    )
    gauges.set(
        'worker_silent_seconds',
        'Seconds since a worker gave a sign of life.',
        worker['age'],
        worker=name,
    )
    gauges.set(
        'worker_start_time_seconds', 'When a worker started.', worker['started_at'], worker=name
    )
    gauges.set(
        'worker_late_threads', 'Threads of a worker that hang.', len(worker['late']), worker=name
    )
    for listener, seconds in worker['bus'].items():
        gauges.set(
            'message_bus_up',
            'Whether the message bus of the cell, or of the host, answers a worker.',
            seconds <= published.BUS_SECONDS,
            worker=name,
            listener=listener,
        )
    for what, number in worker['load'].items():
        gauges.set(
            'load',
            'Of a cell: questions that wait for answers of others, or are answered here; of a '
            'host: operations that wait, or run.',
            number,
            worker=name,
            what=what,
        )
    if worker['kind'] == 'cell':
        gauges.set(
            'drained', 'Whether the cell takes no new instances.', worker['drained'], worker=name
        )
    if worker['kind'] == 'host':
        gauges.set(
            'host_reports_taken',
            'Whether the cell takes what a host reports.',
            worker['cell'] is None,
            worker=name,
        )
    for neighbour in worker.get('neighbours', ()):
        _of_neighbour(gauges, worker, neighbour)
    for parent in worker.get('parents', ()):
        if parent['last_confirmed']:
            gauges.set(
                'sync_last_confirmed_time_seconds',
                'When a parent last confirmed what it was told of instances.',
                parent['last_confirmed'],
                worker=name,
                neighbour=parent['name'],
            )


def _of_neighbour(gauges: Gauges, worker: health.Vitals, neighbour: Mapping[str, Any]) -> None:
    labels = {
        'worker': worker['worker'],
        'neighbour': neighbour['name'],
        'side': 'parent' if neighbour['is_parent'] else 'child',
    }
    up = not neighbour['mute'] and neighbour['link_up'] is not False
    gauges.set('neighbour_up', 'Whether a neighbour is reached and heard.', up, **labels)
    gauges.set(
        'neighbour_mute',
        'Whether a neighbour has been silent for too long.',
        neighbour['mute'],
        **labels,
    )
    gauges.set(
        'neighbour_drained',
        'Whether a child says that it takes no new instances.',
        neighbour['drained'],
        **labels,
    )
    gauges.set(
        'neighbour_link_up',
        'Whether the last message to a neighbour got to its broker.',
        neighbour['link_up'] is not False,
        **labels,
    )
    gauges.set(
        'neighbour_send_queue',
        'Messages that wait in a worker to be sent to a neighbour.',
        neighbour['waiting'],
        **labels,
    )
    for key, name, text in (
        ('last_seen', 'last_seen_time_seconds', 'When the last message of a neighbour came.'),
        ('clock_offset', 'clock_offset_seconds', 'By how much its clock is ahead.'),
        ('lag', 'lag_seconds', 'How long its last message was under way.'),
    ):
        if neighbour[key] is not None:
            gauges.set('neighbour_' + name, text, neighbour[key], **labels)


def _of_database(gauges: Gauges, figures: Mapping[str, Any], known: Sequence[str]) -> None:
    # For whom nothing waits a 0 is shown, so that there is a line before there is an alarm.
    oldest = dict.fromkeys(known, 0.0)
    for neighbour, state, rows, age in figures['outbox']:
        gauges.set(
            'outbox_messages',
            'Changes for a neighbour: pending, not sent; sent, not confirmed yet.',
            rows,
            neighbour=neighbour,
            state=state,
        )
        oldest[neighbour] = max(age, oldest.get(neighbour, 0.0))
    for neighbour, age in oldest.items():
        gauges.set(
            'outbox_oldest_seconds',
            'Age of the oldest change that a neighbour has not confirmed.',
            age,
            neighbour=neighbour,
        )
    for state, rows, age in figures['inbox']:
        gauges.set(
            'inbox_messages',
            'Changes that came in: received, waiting; claimed, being carried out; failed, of the '
            'last days.',
            rows,
            state=state,
        )
        gauges.set('inbox_oldest_seconds', 'Age of the oldest of them.', age, state=state)
    gauges.set(
        'parked_messages', 'Messages put aside that nobody tries any more.', figures['parked']
    )
    sync = figures['sync']
    gauges.set('sync_waiting', 'News of instances that wait for the cells above.', sync['rows'])
    gauges.set('sync_failing', 'Of these, what was tried in vain.', sync['failing'])
    gauges.set('sync_oldest_seconds', 'Age of the oldest of them.', sync['oldest_seconds'] or 0)
    for state, number in figures['hosts'].items():
        gauges.set('hosts', 'Hosts of this cell.', number, state=state)
    last = figures['last_round']
    if last is not None:
        gauges.set(
            'heal_round_looked_at', 'Instances compared in the last round.', last['looked_at']
        )
        gauges.set('heal_round_repaired', 'Of these, those that were told again.', last['repaired'])
        gauges.set('heal_round_end_time_seconds', 'When that round ended.', last['claimed_until'])


def _counters(workers: Sequence[health.Vitals]) -> Iterator[Metric]:
    by_name: dict[str, list[tuple[dict[str, str], float]]] = {}
    for worker in workers:
        for name, labels, value in worker['counters']:
            by_name.setdefault(name, []).append(({**labels, 'worker': worker['worker']}, value))
    for name, samples in sorted(by_name.items()):
        keys = sorted({key for labels, _ in samples for key in labels})
        family = CounterMetricFamily(PREFIX + name, COUNTERS.get(name, OTHER), labels=keys)
        for labels, value in samples:
            family.add_metric([labels.get(key, '') for key in keys], value)
        yield family


def _histograms(workers: Sequence[health.Vitals]) -> Iterator[Metric]:
    found: dict[str, HistogramMetricFamily] = {}
    for worker in workers:
        for name, labels, numbers, total in worker['histograms']:
            family = found.get(name)
            if family is None:
                keys = [*sorted(labels), 'worker']
                family = HistogramMetricFamily(PREFIX + name, HISTOGRAMS[name], labels=keys)
                found[name] = family
            values = [labels[key] for key in sorted(labels)]
            family.add_metric([*values, worker['worker']], _cumulative(numbers), total)
    yield from found.values()


def _cumulative(numbers: Sequence[int]) -> list[tuple[str, float]]:
    bounds = [*map(str, stats.BOUNDS), '+Inf']
    found, sum_of = [], 0
    for bound, number in zip(bounds, numbers, strict=True):
        sum_of += number
        found.append((bound, float(sum_of)))
    return found
