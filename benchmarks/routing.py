"""What a message costs that only passes through: decode, check, route, encode; no broker.

    python -m benchmarks.routing [--repetitions 7] [--seconds 0.5]

One thread, so one core. The message is what a nova-cells of Rocky really sent
for ``start_instance``, as the middle cell of a line of three receives it.
Exit code 1 when what is asked of a rate is not reached.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

import rich.console
import rich.table

from cells import messages, paths, routing, wire
from cells.messages import Extension

GOLDEN = pathlib.Path(__file__).parents[1] / 'tests' / 'golden' / 'intercell-rocky-api.json'
LINE = paths.CellPath(('api', 'child', 'grandchild'))
NEIGHBOURS = routing.Neighbours('child', frozenset({'api'}), frozenset({'grandchild'}))
MAX_HOPS = 10
#: Calls between two looks at the clock.
BATCH = 200

#: Messages a second that are asked for.
ASKED = {'forward': 20_000}


def golden(operation: str) -> str:
    """Return the envelope that was recorded for an operation, sent to the end of the line."""
    for entry in json.loads(GOLDEN.read_text()):
        if entry.get('method') == operation and entry['sent']:
            envelope = entry['sent'][0]['json']
            return json.dumps({**envelope, 'target_cell': str(LINE)})
    raise LookupError(operation)


def forward(text: str) -> str:
    """Do with an envelope all that a middle cell does between reading and sending."""
    message = wire.decode(text)
    routing.check_arrival(message, NEIGHBOURS)
    message = message.hopped(NEIGHBOURS.own_name)
    assert isinstance(message, messages.TargetedMessage)
    hop = routing.next_hop(message.routing_path, message.target_cell, message.direction, NEIGHBOURS)
    assert hop == 'grandchild'
    routing.check_hops(message, MAX_HOPS)
    extension = Extension(1, time.time(), 57_000, 'host.example.org.0')
    return wire.encode(messages.with_extension(message, extension))


def rates(call: Callable[[], object], repetitions: int, seconds: float) -> list[float]:
    """Return calls per second, one value for each repetition, lowest first."""
    found = []
    for _ in range(repetitions):
        done = 0
        begun = time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < seconds:
            for _ in range(BATCH):
                call()
            done += BATCH
        found.append(done / elapsed)
    return sorted(found)


def main() -> int:
    """Measure; exit code 1 when a rate misses what is asked of it."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.routing', description=__doc__)
    parser.add_argument('--repetitions', type=int, default=7)
    parser.add_argument('--seconds', type=float, default=0.5, help='length of one repetition')
    args = parser.parse_args()
    text = golden('start_instance')
    message = wire.decode(text)
    cases: dict[str, Callable[[], object]] = {
        'encode': lambda: wire.encode(message),
        'decode': lambda: wire.decode(text),
        'forward': lambda: forward(text),
    }
    table = rich.table.Table(
        title='start_instance, %d bytes; median of %d' % (len(text), args.repetitions)
    )
    for title in ('case', 'per second', 'lowest to highest', 'asked'):
        table.add_column(title)
    missed = 0
    for name, call in cases.items():
        found = rates(call, args.repetitions, args.seconds)
        median = statistics.median(found)
        limit = ASKED.get(name)
        asked = ''
        if limit is not None:
            missed += median < limit
            asked = '≥ %d %s' % (limit, 'yes' if median >= limit else 'NO')
        table.add_row(name, '%.0f' % median, '%.0f to %.0f' % (found[0], found[-1]), asked)
    rich.console.Console().print(table)
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
