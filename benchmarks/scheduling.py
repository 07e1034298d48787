"""How many builds a cell gives out, on one core.

    python -m benchmarks.scheduling [--cells 100] [--hosts 200] [--requests 1000]

One cell with many children, each of which has reported what its hosts have free; nothing
is sent, and what is measured is what a worker does in its one thread for builds.

``choose`` is what the issue asks for: for each batch the open placements are read from
SQLite, the cells are looked up, and the scheduler chooses. ``give out`` is the whole:
what was asked for is read, and written as placements and as messages for the children.
Seconds are of CPU time.
Exit code 1 when what is asked of a rate is not reached.
"""

import argparse
import pathlib
import random
import statistics
import sys
import tempfile
import time

import rich.console
import rich.table
import sqlalchemy as sa

from cells import (
    candidates,
    capacity,
    cell,
    context,
    known_cells,
    messages,
    paths,
    plugins,
    sightings,
    wire,
)
from cells.db import models
from cells.db import neighbours as db_neighbours
from cells.db import placements as db_placements
from cells.messages import TargetedMessage
from cells.objects import base as objects_base
from cells.objects import flavor, instance
from cells.operations import Direction
from cells.placer import BATCH
from tests import fake_cells

TOP = 'api'
#: name, memory in MiB, disk in GiB, vCPUs
FLAVORS = (
    ('tiny', 512, 1, 1),
    ('small', 2048, 20, 1),
    ('medium', 4096, 40, 2),
    ('large', 8192, 80, 4),
    ('huge', 16384, 160, 8),
)
#: Placements a second that are asked for.
ASKED = {'choose': 4_000}


def capacities(number: int, seed: int) -> dict:
    """Return what a child with so many hosts reports."""
    chance = random.Random(seed)
    nodes = []
    for index in range(number):
        memory_mb, local_gb, vcpus = chance.choice(((131072, 2000, 32), (262144, 4000, 64)))
        nodes.append(
            capacity.Node(
                host='host-%d' % index,
                free_ram_mb=chance.randint(0, memory_mb),
                memory_mb=memory_mb,
                free_disk_gb=chance.randint(0, local_gb),
                local_gb=local_gb,
                vcpus=vcpus,
                vcpus_used=chance.randint(0, vcpus),
                cpu_allocation_ratio=4.0,
            )
        )
    sizes = [(memory_mb, root_gb * 1024) for _, memory_mb, root_gb, _ in FLAVORS]
    return capacity.count(nodes, sizes, 10.0)


def build_top(directory: pathlib.Path, children: int, hosts: int) -> cell.Cell:
    """Return the cell, its state read from the database, and nothing else of it running."""
    names = ['child-%d' % index for index in range(children)]
    one = fake_cells.build(directory, TOP, dict.fromkeys(names, False), cell_type='api')
    now = time.time()
    db_neighbours.reports_save(
        one.database,
        [
            {
                'name': name,
                'protocol': 1,
                'plain_in_a_row': 0,
                'last_plain_at': None,
                'last_seen': now,
                'cell_id': messages.new_uuid(),
                'clock_offset': 0.0,
            }
            for name in names
        ],
    )
    for index, name in enumerate(names):
        text = wire.dumps(capacities(hosts, index))
        db_neighbours.report_store(one.database, name, {'capacities': text})
    sightings.MUTE_SECONDS = 3600.0  # nobody says anything here
    one.state.start()
    return one


def envelope(number: int) -> str:
    """Return an order for one instance as it lies in the journal."""
    name, memory_mb, root_gb, vcpus = FLAVORS[number % len(FLAVORS)]
    kind = flavor.Flavor(
        name=name,
        flavorid=name,
        memory_mb=memory_mb,
        root_gb=root_gb,
        ephemeral_gb=0,
        vcpus=vcpus,
        swap=0,
        extra_specs={},
        id=number % len(FLAVORS) + 1,
    )
    wanted = instance.Instance(
        uuid=messages.new_uuid(),
        display_name='vm-%d' % number,
        hostname='vm-%d' % number,
        project_id='p1',
        user_id='u1',
        image_ref='img-1',
        key_name='key1',
        key_data='ssh-rsa AAAA',
        metadata={'role': 'web', 'owner': 'someone'},
        system_metadata={'image_%d' % index: 'value %d' % index for index in range(20)},
        flavor=kind,
        memory_mb=memory_mb,
        vcpus=vcpus,
        root_gb=root_gb,
        ephemeral_gb=0,
        vm_state='building',
        task_state='scheduling',
    )
    kwargs = {
        'instances': [wanted],
        'image': {'id': 'img-1', 'properties': {'os_type': 'linux'}},
        'filter_properties': {'instance_type': kind, 'scheduler_hints': {}},
        'admin_password': 'secret',
        'injected_files': [],
        'requested_networks': None,
        'security_groups': ['default'],
    }
    own = paths.CellPath((TOP,))
    return wire.encode(
        TargetedMessage(
            ctxt=context.RequestContext('u1', 'p1').to_dict(),
            method_name='build_instances',
            method_kwargs={'build_inst_kwargs': objects_base.to_primitive(kwargs, 'liberty')},
            direction=Direction.DOWN,
            routing_path=own,
            uuid=messages.new_uuid(),
            target_cell=own,
        )
    )


def order(one: cell.Cell, number: int) -> float:
    """Carry orders out as the journal does, one transaction each; return how many a second."""
    envelopes = [envelope(index) for index in range(number)]
    begun = time.process_time()
    for text in envelopes:
        with one.database.write() as connection:
            one.runner.perform(connection, text, 0.0)
    return number / (time.process_time() - begun)


def give_out(one: cell.Cell, number: int) -> float:
    """Give out what was ordered; return placements per second."""
    begun = time.process_time()
    while db_placements.WAITING in db_placements.states_due(one.database):
        one.placer.turn()
    elapsed = time.process_time() - begun
    with one.database.read() as connection:
        placed = sum(load.builds for load in db_placements.loads(connection).values())
    assert placed >= number, 'only %d are placed' % placed
    return number / elapsed


def choose(one: cell.Cell, number: int) -> float:
    """Choose for so many, with what is open read for each batch; return placements per second."""
    cells = known_cells.KnownCells(
        state=one.state, own_capacities=one.reports.own_capacities, own_capabilities={}
    )
    chooser = plugins.load_scheduler(one._conf.cells)
    path = paths.CellPath((TOP,))
    sizes = [(memory_mb, root_gb, vcpus) for _, memory_mb, root_gb, vcpus in FLAVORS]
    requests = [candidates.Request(*sizes[index % len(sizes)], path) for index in range(number)]
    begun = time.process_time()
    for start in range(0, number, BATCH):
        with one.database.read() as connection:
            loads = db_placements.loads(connection)
        found = chooser.choose(requests[start : start + BATCH], cells.all(), loads)
        assert all(choice.cell for choice in found)
    return number / (time.process_time() - begun)


def main() -> int:
    """Measure; exit code 1 when a rate misses what is asked of it."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.scheduling', description=__doc__)
    parser.add_argument('--cells', type=int, default=100)
    parser.add_argument('--hosts', type=int, default=200, help='of each cell')
    parser.add_argument('--requests', type=int, default=1000)
    parser.add_argument('--repetitions', type=int, default=5)
    args = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix='cells-benchmark-'))
    one = build_top(directory, args.cells, args.hosts)
    rates: dict[str, list[float]] = {'order': [], 'give out': [], 'choose': []}
    for _ in range(args.repetitions):
        # Each round finds what the ones before have left open.
        rates['order'].append(order(one, args.requests))
        rates['give out'].append(give_out(one, args.requests))
        rates['choose'].append(choose(one, args.requests))
        with one.database.write() as connection:  # as if the children had confirmed
            connection.execute(sa.delete(models.Outbox))
    one.state.stop()
    table = rich.table.Table(
        title='%d requests, %d cells of %d hosts; median of %d'
        % (args.requests, args.cells, args.hosts, args.repetitions)
    )
    for title in ('case', 'placements/s', 'lowest to highest', 'asked'):
        table.add_column(title)
    missed = 0
    for name, found in rates.items():
        median = statistics.median(found)
        limit, asked = ASKED.get(name), ''
        if limit is not None:
            missed += median < limit
            asked = '≥ %d %s' % (limit, 'yes' if median >= limit else 'NO')
        table.add_row(name, '%.0f' % median, '%.0f to %.0f' % (min(found), max(found)), asked)
    rich.console.Console().print(table)
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
