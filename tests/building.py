"""For tests of builds: hosts that do as they are told, and a plain nova-cells that is a driver."""

import json
import pathlib
import threading
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg

from cells import messages, paths, placement, state
from cells.compute import build_rows, states
from cells.db import engine, models
from cells.db import instances as db_instances
from cells.drivers import base, fake
from cells.drivers.settings import DriverSettings
from cells.objects import base as objects_base
from cells.objects import flavor, instance
from cells.operations import Kind
from tests import fake_cells

SMALL = flavor.Flavor(
    id=1, name='m1', flavorid='1', memory_mb=512, vcpus=1, root_gb=1, ephemeral_gb=0, swap=0
)


def tombstone(connection: sa.Connection, instance_uuid: str, attempt: int = 0) -> str | None:
    """Return why an instance, or one attempt at it, is not to be built any more."""
    columns = models.Tombstone.__table__.c
    query = sa.select(columns.reason).where(
        columns.instance_uuid == instance_uuid,
        columns.attempt.in_({0, attempt}),
        columns.expires > engine.now(),
    )
    return connection.execute(query.order_by(columns.attempt).limit(1)).scalar()


class Farm:
    """The hosts of all cells of a test, in the place of :class:`cells.compute.builds.Builds`.

    A build runs at once, and its row is there and active, unless the cell is in :attr:`full`
    (a reason by its name) or in :attr:`slow` (then :meth:`finish` ends it).
    """

    def __init__(self) -> None:
        self.full: dict[str, str] = {}
        self.slow: set[str] = set()
        #: What builds were begun with: cell, instance, kwargs, attempt.
        self.begun: list[tuple[str, Any, dict[str, Any], int]] = []
        self.cancelled: list[tuple[str, str, int]] = []
        self._lock = threading.Lock()

    def build_here(self, connection, ctxt, wanted, request_kwargs, attempt) -> str | None:
        cell = cell_of(connection)
        if cell in self.full:
            return self.full[cell]
        with self._lock:
            self.begun.append((cell, wanted, dict(request_kwargs), attempt))
        values = {
            'uuid': wanted.uuid,
            'display_name': wanted.display_name if 'display_name' in wanted else None,
            'vm_state': states.BUILDING,
            'task_state': states.SPAWNING,
            'host': '%s-host' % cell,
        }
        metadata = wanted.metadata if 'metadata' in wanted else None
        db_instances.instance_create(connection, values, metadata)
        if cell not in self.slow:
            self._end(connection, wanted.uuid, attempt)
        return None

    def cancel_build(self, connection, instance_uuid, attempt) -> None:
        self.cancelled.append((cell_of(connection), instance_uuid, attempt))
        build_rows.forget(connection, instance_uuid)

    def finish(self, one, instance_uuid: str, attempt: int = 1, reason: str | None = None) -> None:
        """Have a slow build end."""
        with one.database.write() as connection:
            if reason is None:
                self._end(connection, instance_uuid, attempt)
            else:
                placement.build_over(connection, instance_uuid, attempt, reason)
                build_rows.forget(connection, instance_uuid)
        one.wake()

    def _end(self, connection, uuid: str, attempt: int) -> None:
        done = {'vm_state': states.ACTIVE, 'task_state': None, 'power_state': 1}
        db_instances.instance_update(connection, uuid, done)
        placement.build_over(connection, uuid, attempt, None)

    def cells(self, *uuids: str) -> list[str]:
        """Return in which cells builds of these instances were begun, in order."""
        return [cell for cell, one, _, _ in self.begun if not uuids or one.uuid in uuids]


def cell_of(connection: sa.Connection) -> str:
    """Return the name of the cell that a database is of."""
    return pathlib.Path(str(connection.engine.url.database)).stem


def wanted(number: int = 0, **values: Any) -> instance.Instance:
    """Return an instance as an API service wants one built."""
    return instance.Instance(
        **{
            'uuid': messages.new_uuid(),
            'display_name': 'vm-%d' % number,
            'hostname': 'host-%d' % number,
            'project_id': 'p',
            'user_id': 'u',
            'metadata': {'number': str(number)},
            'system_metadata': {},
            **values,
        }
    )


def order(one, ctxt, *instances: instance.Instance, **values: Any) -> None:
    """Order builds in a cell as its endpoint does.

    :param values: of ``build_inst_kwargs``; ``hints`` stands for the ``scheduler_hints``.
    """
    hints = values.pop('hints', {})
    kwargs = {
        'instances': list(instances),
        'image': {'id': 'img-1', 'properties': {}},
        'filter_properties': {'instance_type': SMALL, 'scheduler_hints': hints},
        'admin_password': 'secret',
        'injected_files': [],
        'requested_networks': None,
        'security_groups': ['default'],
        'block_device_mapping': None,
        **values,
    }
    own = paths.CellPath((one.name,))
    one.runner.change(ctxt, 'build_instances', {'build_inst_kwargs': kwargs}, own)


class PlainChild:
    """A nova-cells below a cell of ours: keeps what it gets, and says what it is told to."""

    def __init__(self, workdir, name: str, parent: str) -> None:
        self.name = name
        self.got: list[dict[str, Any]] = []
        self._parent = state.CellState(parent, True, fake_cells.address(workdir, parent))
        self._driver = fake.FakeDriver(
            DriverSettings(
                conf=cfg.ConfigOpts(),
                transport_url=fake_cells.address(workdir, name),
                queue_base='cells.intercell',
                server=name,
                prefetch=64,
                queue_type='classic',
                send_queue_length=1000,
            )
        )

    def start(self) -> None:
        """Listen, and say what a nova-cells says at its start."""
        self._driver.start(self._take)
        for _ in range(3):
            self.capacities({})

    def stop(self) -> None:
        """Be gone."""
        self._driver.stop()
        self._driver.close()

    def _take(self, incoming: base.Incoming) -> None:
        self.got.append(json.loads(incoming.text))
        incoming.settle()

    def orders(self, operation: str) -> list[dict[str, Any]]:
        """Return the orders that have come."""
        return [one for one in self.got if one['method_name'] == operation]

    def capacities(self, value: dict[str, Any]) -> None:
        """Report what is free."""
        kwargs = {'cell_name': self.name, 'capacities': value}
        target = '%s!%s' % (self.name, self._parent.name)
        self._send('targeted', 'update_capacities', kwargs, target_cell=target)

    def update(self, **values: Any) -> None:
        """Report an instance."""
        one = instance.Instance(**values)
        self._send(
            'broadcast',
            'instance_update_at_top',
            {'instance': objects_base.to_primitive(one, 'liberty')},
        )

    def _send(self, kind: str, operation: str, kwargs: dict[str, Any], **more: Any) -> None:
        self.send(
            {
                'message_type': kind,
                'ctxt': {
                    'request_id': 'req-1',
                    'user_id': None,
                    'project_id': None,
                    'is_admin': True,
                },
                'method_name': operation,
                'method_kwargs': kwargs,
                'direction': 'up',
                'need_response': False,
                'fanout': False,
                'uuid': messages.new_uuid(),
                'routing_path': self.name,
                'hop_count': 1,
                'max_hop_count': 10,
                **more,
            }
        )

    def send(self, envelope: dict[str, Any]) -> None:
        """Send an envelope to the neighbour."""
        kind = Kind(envelope['message_type'])
        self._driver.send(
            self._parent, base.Outgoing(kind=kind, text=json.dumps(envelope), ctxt={})
        )
