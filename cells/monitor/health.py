"""What is wrong with a daemon: values in, sentences out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cells import published

#: Seconds by which a clock may be off.
CLOCK_SECONDS: Final = 1.0

Vitals = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    :ivar dead: why the daemon has to be started anew, as it will not mend itself.
    :ivar wrong: why it does not do what it is there for, or only a part of it.
    :ivar warnings: what an operator should know; the daemon does what it can.
    """

    dead: tuple[str, ...]
    wrong: tuple[str, ...]
    warnings: tuple[str, ...]


def judge(
    workers: Sequence[Vitals],
    *,
    expected: int,
    wedged_after: float,
    database: str | None,
) -> Verdict:
    """Say what is wrong.

    :param workers: see :func:`cells.published.read`.
    :param expected: how many workers there should be.
    :param database: why the database does not answer the monitor; None when it does.
    """
    dead: list[str] = []
    wrong: list[str] = []
    if database is not None:
        wrong.append('database: %s' % database)
    if len(workers) < expected:
        missing = '%d of %d workers run' % (len(workers), expected)
        (wrong if workers else dead).append(missing)
    for worker in workers:
        wedged = _wedged(worker, wedged_after)
        if wedged is not None:
            dead.append(wedged)
            continue
        wrong.extend(_of_worker(worker))
        # What waits for a database or a broker that is away is not helped by a new start.
        waits = database is not None or worker.get('database') or _away(worker)
        (wrong if waits else dead).extend(_late(worker))
    return Verdict(tuple(dead), (*dead, *wrong), tuple(_warnings(workers)))


def _wedged(worker: Vitals, wedged_after: float) -> str | None:
    if worker['age'] <= wedged_after:
        return None
    return 'worker %s (pid %d) is wedged: no sign of life for %.0f seconds' % (
        worker['worker'],
        worker['pid'],
        worker['age'],
    )


def _away(worker: Vitals) -> bool:
    return any(seconds > published.BUS_SECONDS for seconds in worker['bus'].values())


def _of_worker(worker: Vitals) -> list[str]:
    name, found = worker['worker'], []
    if worker['doing'] != published.SERVES:
        reason = ': %s' % worker['cell'] if worker.get('cell') else ''
        found.append('worker %s %s%s' % (name, worker['doing'], reason))
    for listener, seconds in sorted(worker['bus'].items()):
        if seconds > published.BUS_SECONDS:
            found.append(
                'message bus: away for %.0f seconds (worker %s, from %s)'
                % (seconds, name, listener)
            )
    if worker.get('database'):
        found.append('worker %s: %s' % (name, worker['database']))
    return found


def _late(worker: Vitals) -> list[str]:
    return [
        'worker %s (pid %d): its thread %s has not turned for %.0f seconds'
        % (worker['worker'], worker['pid'], thread, seconds)
        for thread, seconds in sorted(worker['late'].items())
    ]


def _warnings(workers: Sequence[Vitals]) -> list[str]:
    found: list[str] = []
    for name, views in sorted(neighbours(workers).items()):
        side = 'parent' if views[0]['is_parent'] else 'child'
        if any(one['mute'] for one in views):
            found.append('%s %s is mute: nothing comes from it' % (side, name))
        errors = sorted({one['link_error'] for one in views if one['link_up'] is False})
        if errors:
            found.append('%s %s cannot be reached: %s' % (side, name, '; '.join(map(str, errors))))
        offsets = [one['clock_offset'] for one in views if one['clock_offset'] is not None]
        if offsets and abs(offsets[-1]) > CLOCK_SECONDS:
            found.append('the clock of %s %s is %+.1f seconds off' % (side, name, offsets[-1]))
    for worker in workers:
        for parent in worker.get('parents', ()):
            if parent['error']:
                found.append(
                    'parent %s is not told of instances: %s' % (parent['name'], parent['error'])
                )
    return list(dict.fromkeys(found))


def neighbours(workers: Sequence[Vitals]) -> dict[str, list[Mapping[str, Any]]]:
    """Return what each worker knows of each neighbour, by its name."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for worker in workers:
        for one in worker.get('neighbours', ()):
            found.setdefault(one['name'], []).append(one)
    return found
