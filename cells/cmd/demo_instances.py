"""What the demo does with instances: boot, act, break, drain, delete, and compare."""

import collections
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import rich.console
import rich.progress
import rich.table
import sqlalchemy as sa

from cells import context, exceptions, messages
from cells.cmd import demo_actions
from cells.cmd.demo_tree import FLAVORS, LEAVES, Tree
from cells.db import dirty, engine, models, snapshots
from cells.objects.flavor import Flavor
from cells.objects.instance import Instance

BOOTED: Final = 60
#: The cell that takes nothing new for a while.
DRAINED: Final = 'cell-d'
#: Seconds until an order is carried out, and until all is in order after something broke.
SOON: Final = 90.0
LATER: Final = 180.0

Check = Callable[[bool, str], None]


def flavor_of(number: int) -> Flavor:
    """Return one of the sizes of the demo."""
    name, memory_mb, root_gb, vcpus = FLAVORS[number % len(FLAVORS)]
    return Flavor(
        id=number % len(FLAVORS) + 1,
        name=name,
        flavorid=str(number % len(FLAVORS) + 1),
        memory_mb=memory_mb,
        root_gb=root_gb,
        vcpus=vcpus,
        ephemeral_gb=0,
        swap=0,
        rxtx_factor=1.0,
        extra_specs={},
    )


class InstancesDemo:
    """The second part of the demo.

    :param check: called with whether something is as it should be, and what.
    """

    def __init__(self, tree: Tree, console: rich.console.Console, check: Check) -> None:
        self._tree = tree
        self._console = console
        self._check = check

    def run(self) -> None:
        """Show everything."""
        booted = self._boot(BOOTED, 'vm')
        self._show_where(booted)
        self._act(booted)
        self._break_a_host()
        self._drain()
        self._delete()
        self._compare()

    # -- how it is asked --

    def _ctxt(self) -> context.RequestContext:
        return context.RequestContext('demo', 'demo', is_admin=True)

    def _records(self) -> dict[str, Any]:
        found = self._tree.records.list(self._ctxt(), limit=1000)
        return {one.uuid: one for one in found}

    def _order(self, number: int, name: str) -> str:
        """Order an instance as an API service does, and return its uuid."""
        flavor, ctxt = flavor_of(number), self._ctxt()
        instance = Instance(
            uuid=messages.new_uuid(),
            display_name=name,
            hostname=name,
            project_id='demo',
            user_id='demo',
            image_ref='image-1',
            instance_type_id=flavor.id,
            memory_mb=flavor.memory_mb,
            vcpus=flavor.vcpus,
            root_gb=flavor.root_gb,
            ephemeral_gb=0,
            flavor=flavor,
            metadata={},
            system_metadata={},
        )
        (record,) = self._tree.records.create(ctxt, [instance])
        self._tree.api.build_instances(
            ctxt,
            instances=[record],
            image={},
            filter_properties={'instance_type': flavor, 'scheduler_hints': {}},
            admin_password='secret',
            injected_files=[],
            requested_networks=None,
            security_groups=['default'],
            block_device_mapping=[],
        )
        return record.uuid

    def _boot(self, number: int, name: str) -> list[str]:
        """Boot instances with a progress bar; return the uuids of those that are active."""
        ordered = [self._order(index, '%s-%d' % (name, index)) for index in range(number)]
        self._console.rule(
            'CellsAPI.build_instances: %d instances of %d sizes' % (number, len(FLAVORS))
        )
        self._wait_with_bar(
            'active', number, lambda: len(self._in_state(ordered, {'active'})), LATER
        )
        active = self._in_state(ordered, {'active'})
        self._check(len(active) == number, '%d of %d are active' % (len(active), number))
        return active

    def _in_state(self, uuids: Iterable[str], states: Iterable[str]) -> list[str]:
        known, wanted = self._records(), set(states)
        return [
            uuid
            for uuid in uuids
            if uuid in known and known[uuid].vm_state in wanted and known[uuid].task_state is None
        ]

    def _wait_with_bar(
        self, what: str, total: int, count: Callable[[], int], seconds: float
    ) -> None:
        until = time.monotonic() + seconds
        with rich.progress.Progress(
            rich.progress.TextColumn('  {task.description}'),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            console=self._console,
        ) as progress:
            task = progress.add_task(what, total=total)
            while time.monotonic() < until:
                done = count()
                progress.update(task, completed=done)
                if done >= total:
                    return
                time.sleep(0.2)

    # -- what is shown --

    def _show_where(self, uuids: Sequence[str]) -> None:
        self._console.rule('Where they went')
        known = self._records()
        counted: collections.Counter[tuple[str, str]] = collections.Counter()
        for uuid in uuids:
            cell = known[uuid].cell_name.rpartition('!')[2]
            counted[cell, known[uuid].flavor.name] += 1
        sizes = [name for name, *_ in FLAVORS]
        table = rich.table.Table('cell', *sizes, 'all', 'MiB free after')
        for leaf in LEAVES:
            free = self._tree.ops_of(leaf).status(self._tree.ctxt)['capacities']
            numbers = [counted[leaf, size] for size in sizes]
            table.add_row(
                leaf,
                *map(str, numbers),
                str(sum(numbers)),
                str(free.get('ram_free', {}).get('total_mb', 0)),
            )
        self._console.print(table)
        used = {cell for cell, _ in counted}
        self._check(used == set(LEAVES), 'every cell with hosts has some')

    def _act(self, uuids: Sequence[str]) -> None:
        self._console.rule('Every action, once')
        larger = flavor_of(len(FLAVORS) - 1)
        small = [one for one in uuids if self._records()[one].flavor.name == FLAVORS[0][0]]
        table = rich.table.Table('course', 'instance', 'cell', 'came to')
        threads, results = [], []
        for number, course in enumerate(demo_actions.courses(larger)):
            uuid = small[number % len(small)]
            results.append([course.name, uuid[:8], '', ''])
            threads.append((uuid, course, results[-1]))
        by_uuid: dict[str, list[Any]] = collections.defaultdict(list)
        for uuid, course, row in threads:
            by_uuid[uuid].append((course, row))
        running = [
            threading.Thread(target=self._courses, args=(uuid, found), daemon=True)
            for uuid, found in by_uuid.items()
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(LATER)
        wrong = [row for row in results if row[3] != 'done']
        for row in results:
            table.add_row(*row)
        self._console.print(table)
        self._check(
            not wrong,
            '%d courses of actions, all done' % len(results)
            if not wrong
            else 'not all courses were done: %s' % '; '.join(' '.join(row) for row in wrong),
        )

    def _courses(self, uuid: str, courses: Sequence[tuple[demo_actions.Course, list[str]]]) -> None:
        for course, row in courses:
            try:
                row[3] = self._course(uuid, course)
            except exceptions.WireError as error:
                row[3] = '%s: %s' % (type(error).__name__, error)
            row[2] = self._tree.records.get(self._ctxt(), uuid).cell_name

    def _course(self, uuid: str, course: demo_actions.Course) -> str:
        for step in course.steps:
            ctxt = self._ctxt()
            # What is not over when the cells' time is goes on, and is waited for below.
            with contextlib.suppress(exceptions.CellTimeout):
                step.order(self._tree.api, ctxt, self._tree.records.get(ctxt, uuid))
            until = time.monotonic() + SOON
            while not self._settled(uuid, ctxt.request_id, step):
                if time.monotonic() > until:
                    found = self._tree.records.get(self._ctxt(), uuid)
                    faults = self._tree.records.faults(self._ctxt(), uuid)
                    return '%s: still %s, %s %s' % (
                        step.name,
                        found.vm_state,
                        found.task_state,
                        faults[0]['message'] if faults else '',
                    )
                time.sleep(0.1)
        return 'done'

    def _settled(self, uuid: str, request_id: str, step: demo_actions.Step) -> bool:
        record = self._tree.records.get(self._ctxt(), uuid)
        actions = self._tree.records.actions(self._ctxt(), uuid)
        mine = [one for one in actions if one['request_id'] == request_id]
        over = all(one['finish_time'] and one['message'] is None for one in mine)
        over = over and bool(mine or step.answered)
        return over and record.task_state is None and record.vm_state in step.ends

    def _break_a_host(self) -> None:
        ordered = [self._order(0, 'slow-%d' % index) for index in range(8)]
        found = self._wait(self._at_work)
        if found is None:
            self._check(False, 'no agent builds any of %d' % len(ordered))
            return
        cell, number = found
        agent = self._tree.agents_of(cell)[number]
        self._console.rule('The agent of %s ends while it builds' % agent.host)
        agent.stop()
        self._console.print('  it is started again')
        self._tree.restart(cell, number)
        self._wait_with_bar(
            'settled',
            len(ordered),
            lambda: len(self._in_state(ordered, {'active', 'error'})),
            LATER,
        )
        known = self._records()
        states = collections.Counter(known[uuid].vm_state for uuid in ordered if uuid in known)
        active = states['active'] == len(ordered)
        self._check(active, 'all %d were built all the same: %s' % (len(ordered), dict(states)))

    def _at_work(self) -> tuple[str, int] | None:
        for cell in LEAVES:
            for number, agent in enumerate(self._tree.agents_of(cell)):
                if agent.at_work:
                    return cell, number
        return None

    def _wait(self, true: Callable[[], Any]) -> Any:
        until = time.monotonic() + SOON
        while not (found := true()) and time.monotonic() < until:
            time.sleep(0.1)
        return found or None

    def _drain(self) -> None:
        self._console.rule('%s is drained' % DRAINED)
        self._tree.drain(DRAINED)
        before = self._count_in(DRAINED)
        ordered = [self._order(0, 'after-%d' % index) for index in range(8)]
        self._wait_with_bar(
            'active', len(ordered), lambda: len(self._in_state(ordered, {'active'})), SOON
        )
        inside = self._count_in(DRAINED)
        self._check(
            len(self._in_state(ordered, {'active'})) == len(ordered) and inside == before,
            '%d more were built, none of them in %s' % (len(ordered), DRAINED),
        )

    def _count_in(self, cell: str) -> int:
        path = Tree.path(cell)
        return sum(1 for one in self._records().values() if one.cell_name == path)

    def _delete(self) -> None:
        known = self._records()
        self._console.rule('CellsAPI.terminate_instance: all %d' % len(known))
        for record in known.values():
            if record.cell_name:
                self._tree.api.terminate_instance(self._ctxt(), record, None)
            else:
                self._tree.api.instance_delete_everywhere(self._ctxt(), record, 'hard')
        total = len(known)
        self._wait_with_bar('gone', total, lambda: total - len(self._records()), LATER)
        self._check(not self._records(), 'all are gone')

    def _compare(self) -> None:
        self._console.rule('The top against the cells')
        table = rich.table.Table(
            'cell', 'instances ever', 'differ', 'orphans', 'ghosts', 'machines'
        )
        top = _everything(self._tree.cells['api'].database)
        wrong = 0
        for leaf in LEAVES:
            path = Tree.path(leaf)
            own = _everything(self._tree.cells[leaf].database)
            above = {uuid: one for uuid, one in top.items() if one['cell_name'] == path}
            differ = [
                uuid
                for uuid in own.keys() & above.keys()
                if {**own[uuid], 'cell_name': path} != above[uuid]
            ]
            orphans = own.keys() - top.keys()
            ghosts = above.keys() - own.keys()
            machines = sum(one.machines for one in self._tree.agents_of(leaf))
            wrong += len(differ) + len(orphans) + len(ghosts) + machines
            table.add_row(
                leaf,
                str(len(own)),
                str(len(differ)),
                str(len(orphans)),
                str(len(ghosts)),
                str(machines),
            )
        self._console.print(table)
        self._check(not wrong, 'no difference, no orphan, no ghost, no machine left')


def _everything(database: engine.Database) -> dict[str, dict[str, Any]]:
    """Return the whole replicated state of all instances, deleted ones as well, by uuid."""
    with database.read() as connection:
        query = sa.select(models.Instance.uuid, models.Instance.cell_name)
        found = {row.uuid: row.cell_name for row in connection.execute(query)}
        marks = {
            uuid: snapshots.Marks(uuid, at=(0, 0), names=dirty.ALL, whole=True) for uuid in found
        }
        items = snapshots.read(connection, marks)
    return {
        uuid: {
            'cell_name': found[uuid],
            'deleted': 'deleted_at' in item,
            **{name: item[name] for name in ('values', 'fields', 'metadata', 'devices')},
        }
        for uuid, item in items.items()
    }
