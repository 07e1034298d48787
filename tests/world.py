"""A whole cloud of real processes: a tree of cells, hosts with fake machines, and its users.

What users see is the top alone; :meth:`World.differences` looks everywhere.
"""

import collections
import dataclasses
import pathlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from cells import context, exceptions, messages, rpcapi
from cells.cmd import demo_actions
from cells.db import dirty, engine, models, snapshots
from cells.objects.flavor import Flavor
from cells.objects.instance import Instance
from tests import deploy, deploy_hosts, servers

CELLS = {'api': None, 'region': 'api', 'cell-a': 'region', 'cell-b': 'region'}
LEAVES = ('cell-a', 'cell-b')
HOSTS = 2

AGENT = """\
[compute]
virt_driver = fake
fake_memory_mb = 131072
fake_local_gb = 4000
fake_vcpus = 64
fake_images_path = %(shared)s
fake_delays = %(delays)s
%(options)s
"""

SMALL = Flavor(
    id=1, name='small', flavorid='1', memory_mb=512, root_gb=1, vcpus=1, ephemeral_gb=0, swap=0
)
LARGE = Flavor(
    id=2, name='large', flavorid='2', memory_mb=1024, root_gb=2, vcpus=2, ephemeral_gb=0, swap=0
)


@dataclasses.dataclass(slots=True)
class Order:
    """Something that a user ordered, and what the user was told."""

    name: str
    uuid: str
    request_id: str
    raised: str | None = None
    answered: bool = False


class World:
    """Four cells on three levels, two hosts in each of the two at the bottom.

    :param options: further lines for ``[cells]``.
    :param agent_options: further lines for ``[compute]``.
    :param delays: how long the hosts take, ``[compute] fake_delays``.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        rabbit: servers.RabbitMQ,
        databases: Callable[[str], str],
        *,
        prefix: str,
        workers: int = 2,
        options: str = '',
        agent_options: str = '',
        delays: str = '*:0.01-0.1',
    ) -> None:
        self.tree = deploy.Tree(
            directory / 'tree',
            rabbit,
            lambda name: databases(name.replace('-', '_')),
            CELLS,
            prefix=prefix,
            workers=workers,
            options='call_timeout = 10\nreceipt_timeout = 3\n' + options,
        )
        self.agents = {
            leaf: [
                deploy_hosts.Agent(
                    directory / ('%s-host%d' % (leaf, number)),
                    '%s-host%d' % (leaf, number),
                    self.tree[leaf].transport_url,
                    options=AGENT
                    % {
                        'shared': directory / ('%s-shared' % leaf),
                        'options': agent_options,
                        'delays': delays,
                    },
                )
                for number in range(HOSTS)
            ]
            for leaf in LEAVES
        }
        self.orders: list[Order] = []
        self._lock = threading.Lock()
        self._clients: list[Any] = []

    def start(self) -> None:
        """Start everything and wait until the hosts are known at the top."""
        self.tree.start()
        for agent in self.all_agents:
            agent.start(wait=False)
        self.api = self._client(rpcapi.CellsAPI)
        self.records = self._client(rpcapi.InstancesAPI)
        deploy.wait_until(self._whole, 120, 'all hosts are known at the top')

    def stop(self) -> None:
        """Kill everything."""
        for agent in self.all_agents:
            agent.end()
        self.tree.stop()
        while self._clients:
            self._clients.pop().close()

    @property
    def all_agents(self) -> list[deploy_hosts.Agent]:
        return [one for found in self.agents.values() for one in found]

    def _client(self, cls: Any) -> Any:
        client = cls.from_conf(self.tree.conf('api'))
        self._clients.append(client)
        return client

    def _whole(self) -> bool:
        try:
            free = self.api.get_capacities(admin())
            hosts = {one.host for one in self.api.compute_node_get_all(admin())}
        except exceptions.WireError:
            return False
        return len(hosts) == len(self.all_agents) and bool(free.get('ram_free', {}).get('total_mb'))

    # -- what users do --

    def order(self, name: str, uuid: str, do: Callable[[Any], Any]) -> Order:
        """Order something under a request id of its own, and note what the user was told."""
        ctxt = admin()
        found = Order(name, uuid, ctxt.request_id)
        with self._lock:
            self.orders.append(found)
        try:
            do(ctxt)
            found.answered = True
        except Exception as error:  # noqa: BLE001 - whatever it is, the user has been told
            found.raised = '%s: %s' % (type(error).__name__, error)
        return found

    def build(self, name: str, flavor: Flavor = SMALL) -> str:
        """Order an instance; return its uuid."""
        instance = new_instance(name, flavor)

        def do(ctxt: Any) -> None:
            patiently(lambda: self.records.create(ctxt, [instance]))
            self.api.build_instances(
                ctxt,
                instances=[instance],
                image={},
                filter_properties={'instance_type': flavor, 'scheduler_hints': {}},
                admin_password='secret',
                injected_files=[],
                requested_networks=None,
                security_groups=['default'],
                block_device_mapping=[],
            )

        found = self.order('build', instance.uuid, do)
        assert found.raised is None, found.raised
        return instance.uuid

    def record(self, uuid: str) -> Any:
        """Return what the top knows of an instance."""
        return patiently(lambda: self.records.get(admin(), uuid))

    def wait_settled(self, uuids: Iterable[str], states: Iterable[str], seconds: float) -> None:
        """Wait until instances are in one of these states and nothing is being done."""
        wanted, states = set(uuids), set(states)
        left = set(wanted)

        def settled() -> bool:
            known = {
                one.uuid: one for one in patiently(lambda: self.records.list(admin(), limit=1000))
            }
            left.clear()
            left.update(
                uuid
                for uuid in wanted
                if uuid not in known
                or known[uuid].vm_state not in states
                or known[uuid].task_state is not None
            )
            return not left

        try:
            deploy.wait_until(settled, seconds, 'instances settle')
        except AssertionError:
            raise AssertionError('still not settled: %s' % self.describe(left)) from None

    def describe(self, uuids: Iterable[str]) -> str:
        lines = []
        for uuid in uuids:
            try:
                one = self.record(uuid)
                faults = patiently(lambda uuid=uuid: self.records.faults(admin(), uuid))
                lines.append(
                    '%s %s %s %s in %s: %s'
                    % (
                        uuid,
                        one.display_name,
                        one.vm_state,
                        one.task_state,
                        one.cell_name,
                        faults[0]['message'] if faults else '',
                    )
                )
            except exceptions.WireError as error:
                lines.append('%s: %s' % (uuid, error))
        return '\n'.join(lines)

    def run_course(self, uuid: str, course: demo_actions.Course, seconds: float) -> str:
        """Do the steps of a course; ``done``, or why it went no further."""
        for step in course.steps:
            try:
                record = self.record(uuid)
            except exceptions.InstanceNotFound:
                return '%s: the instance is gone' % step.name
            found = self.order(
                step.name, uuid, lambda ctxt, s=step, r=record: s.order(self.api, ctxt, r)
            )
            outcome = self.wait_for(found, step, seconds)
            if outcome != 'done':
                return '%s: %s' % (step.name, outcome)
        return 'done'

    def wait_for(self, order: Order, step: demo_actions.Step, seconds: float) -> str:
        """Wait for the end of an order; return what came of it."""
        until = time.monotonic() + seconds
        settled = None
        while time.monotonic() < until:
            outcome = self.outcome(order, step)
            if outcome is not None:
                return outcome
            state = self.record(order.uuid)
            if not self.is_over(order) or state.task_state is not None:
                settled = None
            elif settled is None:
                settled = time.monotonic()
            elif time.monotonic() > settled + 5:
                return 'ended in %s' % state.vm_state
            time.sleep(0.1)
        return 'no end after %d s: %s' % (seconds, self.describe([order.uuid]))

    def is_over(self, order: Order) -> bool:
        """Tell whether the history of its instance says that an order has come to its end."""
        actions = patiently(lambda: self.records.actions(admin(), order.uuid))
        mine = [one for one in actions if one['request_id'] == order.request_id]
        return bool(mine) and all(one['finish_time'] for one in mine)

    def recover(self, uuid: str, seconds: float) -> None:
        """Bring an instance back to where any course begins, if that can be done."""
        rescued, resized = demo_actions.RESCUED, demo_actions.RESIZED
        step = {rescued: demo_actions.UNRESCUE, resized: demo_actions.REVERT}.get(
            self.record(uuid).vm_state, demo_actions.HARD_REBOOT
        )
        record = self.record(uuid)
        if record.vm_state not in step.ends:
            found = self.order(step.name, uuid, lambda ctxt: step.order(self.api, ctxt, record))
            self.wait_for(found, step, seconds)

    def outcome(self, order: Order, step: demo_actions.Step) -> str | None:
        """Return what came of an order as far as the top knows; None while it goes on."""
        record = self.record(order.uuid)
        if record.task_state is not None:
            return None
        actions = patiently(lambda: self.records.actions(admin(), order.uuid))
        mine = [one for one in actions if one['request_id'] == order.request_id]
        if any(one['finish_time'] is None for one in mine):
            return None
        if any(one['message'] == 'Error' for one in mine):
            return 'failed'
        if order.raised is not None:
            return 'raised %s' % order.raised
        if not mine and not (step.answered and order.answered):
            return None
        return 'done' if record.vm_state in step.ends else None

    # -- what is everywhere --

    def differences(self) -> list[str]:
        """Compare the top with the cells, and these with their hosts; return what is wrong."""
        top = everything(self.tree['api'].database_url)
        wrong = []
        owned: set[str] = set()
        for leaf in LEAVES:
            path = 'api!region!' + leaf
            own = everything(self.tree[leaf].database_url)
            owned |= own.keys()
            live = {uuid for uuid, one in own.items() if not one['deleted']}
            machines = collections.Counter(
                uuid for agent in self.agents[leaf] for uuid in machines_of(agent)
            )
            for uuid in own.keys() - top.keys():
                wrong.append('%s: orphan in %s: %s' % (uuid, leaf, own[uuid]))
            for uuid, one in top.items():
                if one['cell_name'] == path and not one['deleted'] and uuid not in live:
                    wrong.append('%s: ghost of %s' % (uuid, leaf))
            for uuid in own.keys() & top.keys():
                if top[uuid]['cell_name'] != path:
                    if not own[uuid]['deleted']:
                        wrong.append('%s: in %s, not %s' % (uuid, leaf, top[uuid]['cell_name']))
                    continue
                wrong += _differing(uuid, leaf, own[uuid], top[uuid])
            on_host = {
                uuid
                for uuid in live
                if own[uuid]['values']['host'] and own[uuid]['values']['vm_state'] != 'error'
            }
            for uuid in machines.keys() - live:
                wrong.append('%s: a machine in %s without an instance' % (uuid, leaf))
            for uuid in on_host - machines.keys():
                wrong.append('%s: an instance in %s without a machine' % (uuid, leaf))
        for uuid, one in top.items():
            if one['values']['task_state'] is not None and not one['deleted']:
                wrong.append('%s: still %s' % (uuid, one['values']['task_state']))
            if not one['deleted'] and uuid not in owned and one['values']['vm_state'] != 'error':
                wrong.append('%s: in no cell, and %s' % (uuid, one['values']['vm_state']))
        return wrong

    def unaccounted(self) -> list[str]:
        """Return orders of which nobody can tell what became."""
        lost = []
        for order in self.orders:
            if order.raised is not None or order.name == 'build':
                continue
            deleted = context.RequestContext('u1', 'p1', is_admin=True, read_deleted='yes')
            actions = patiently(lambda o=order, c=deleted: self.records.actions(c, o.uuid))
            mine = [one for one in actions if one['request_id'] == order.request_id]
            # A resized instance that is deleted has its resize confirmed under the same request.
            names = [one['action'] for one in mine]
            if len(set(names)) < len(names):
                lost.append('%s is recorded %d times: %s' % (order, len(names), names))
            if any(one['finish_time'] is None for one in mine):
                lost.append('%s has no end' % order)
            if not mine and not order.answered:
                lost.append('%s left no trace' % order)
            if not mine and order.name not in ANSWERED:
                lost.append('%s left no trace' % order)
        return lost


#: What is asked and answered at once, and leaves no action behind.
ANSWERED = frozenset(('diagnostics', 'output', 'console'))


def _differing(uuid: str, leaf: str, own: dict[str, Any], top: dict[str, Any]) -> list[str]:
    wrong = []
    if own['deleted'] != top['deleted']:
        wrong.append('%s: deleted is %s in %s' % (uuid, own['deleted'], leaf))
    for part in ('values', 'fields', 'metadata'):
        for name in own[part].keys() | top[part].keys():
            here, there = own[part].get(name), top[part].get(name)
            if here != there and not own['deleted']:
                wrong.append('%s: %s is %r in %s, %r at the top' % (uuid, name, here, leaf, there))
    if not own['deleted'] and own['devices'] != top['devices']:
        wrong.append('%s: devices differ: %s, %s' % (uuid, own['devices'], top['devices']))
    for table in ('faults', 'actions', 'events'):
        missing = own[table] - top[table]
        if missing:
            wrong.append('%s: %s of %s not at the top: %s' % (uuid, table, leaf, missing))
    return wrong


def everything(url: str) -> dict[str, dict[str, Any]]:
    """Return the replicated state of all instances of a cell, deleted ones as well, by uuid."""
    database = engine.Database(url, pool_size=2)
    try:
        with database.read() as connection:
            query = sa.select(
                models.Instance.uuid, models.Instance.cell_name, models.Instance.deleted
            )
            found = {row.uuid: row for row in connection.execute(query)}
            marks = {
                uuid: snapshots.Marks(uuid, at=(0, 0), names=dirty.ALL, whole=True)
                for uuid in found
            }
            items = snapshots.read(connection, marks)
            rows = {
                'faults': _rows(connection, models.InstanceFault, 'uuid', 'message'),
                'actions': _rows(connection, models.InstanceAction, 'uuid', 'action', 'message'),
                'events': _events(connection),
            }
    finally:
        database.dispose()
    return {
        uuid: {
            'cell_name': found[uuid].cell_name,
            'deleted': bool(found[uuid].deleted),
            **{name: items[uuid][name] for name in ('values', 'fields', 'metadata', 'devices')},
            **{table: rows[table].get(uuid, frozenset()) for table in rows},
        }
        for uuid in found
    }


def _rows(connection: sa.Connection, model: Any, *names: str) -> dict[str, frozenset[Any]]:
    columns = model.__table__.c
    query = sa.select(columns.instance_uuid, *(columns[name] for name in names))
    found: dict[str, set[Any]] = collections.defaultdict(set)
    for uuid, *values in connection.execute(query):
        found[uuid].add(tuple(values))
    return {uuid: frozenset(some) for uuid, some in found.items()}


def _events(connection: sa.Connection) -> dict[str, frozenset[Any]]:
    action, event = models.InstanceAction, models.InstanceActionEvent
    query = sa.select(action.instance_uuid, event.uuid, event.event, event.result).join_from(
        event, action, event.action_id == action.id
    )
    found: dict[str, set[Any]] = collections.defaultdict(set)
    for uuid, *values in connection.execute(query):
        found[uuid].add(tuple(values))
    return {uuid: frozenset(some) for uuid, some in found.items()}


def machines_of(agent: deploy_hosts.Agent) -> list[str]:
    """Return the uuids of the machines on a host, from the store of its driver."""
    connection = sqlite3.connect(agent.directory / 'fake-virt.sqlite', timeout=10)
    try:
        return [row[0] for row in connection.execute('SELECT DISTINCT uuid FROM machines')]
    finally:
        connection.close()


def new_instance(name: str, flavor: Flavor) -> Instance:
    """Return an instance as an API service makes it."""
    return Instance(
        uuid=messages.new_uuid(),
        display_name=name,
        hostname=name,
        project_id='p1',
        user_id='u1',
        image_ref='image-1',
        instance_type_id=flavor.id,
        memory_mb=flavor.memory_mb,
        vcpus=flavor.vcpus,
        root_gb=flavor.root_gb,
        ephemeral_gb=0,
        flavor=flavor,
        metadata={'made': 'by %s' % name},
        system_metadata={},
    )


def admin() -> context.RequestContext:
    """Return the context of a new request of an administrator."""
    return context.RequestContext('u1', 'p1', is_admin=True, roles=['admin'])


def patiently(ask: Callable[[], Any], seconds: float = 60) -> Any:
    """Ask what changes nothing until it is answered, as while the cell's database is away."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except (exceptions.InstanceNotFound, exceptions.Invalid, exceptions.InstanceExists):
            raise
        except Exception:  # noqa: BLE001 - whatever is broken just now
            if time.monotonic() > until:
                raise
            time.sleep(0.3)


def plan(
    number: int, uuids: Sequence[str], courses: Sequence[demo_actions.Course], times: int
) -> dict[str, list[demo_actions.Course]]:
    """Deal courses out to instances by chance, each at least so many times."""
    chance = random.Random(number)
    deck = [course for course in courses for _ in range(times)]
    chance.shuffle(deck)
    found: dict[str, list[demo_actions.Course]] = {uuid: [] for uuid in uuids}
    for index, course in enumerate(deck):
        found[uuids[index % len(uuids)]].append(course)
    return found
