"""A cell's database with hosts and instances, orders as messages, and outcomes as of agents."""

import datetime
import json
import pathlib
import uuid as uuids

import sqlalchemy as sa

from cells import context, dispatch, messages, operations, paths
from cells.amounts import Amount
from cells.compute import build_ends, host_ops, host_outcomes, results
from cells.compute.means import Means
from cells.db import (
    block_devices,
    claims,
    compute_nodes,
    engine,
    flavors,
    host_operations,
    instance_actions,
    instance_migrations,
    instances,
    migration,
    models,
    services,
)
from cells.handlers import actions as action_handlers
from cells.handlers import instances as instance_handlers
from cells.objects import flavor as flavor_objects
from cells.objects import instance as instance_objects

SPEC = json.loads(
    (pathlib.Path(__file__).parent.parent / 'contract' / 'compute_api.json').read_text()
)
LAUNCHED = datetime.datetime(2016, 3, 1, 12)
OWNER = context.RequestContext('u1', 'p1', request_id='req-owner')
ADMIN = context.RequestContext('boss', 'admins', is_admin=True, request_id='req-admin')
STRANGER = context.RequestContext('u2', 'p2', request_id='req-stranger')

SMALL = {'memory_mb': 1024, 'vcpus': 1, 'root_gb': 10, 'ephemeral_gb': 0}
LARGE = {'memory_mb': 4096, 'vcpus': 2, 'root_gb': 40, 'ephemeral_gb': 0}


def new_uuid():
    return str(uuids.uuid4())


def new_database(directory, replicates=True):
    """Return a database of a cell, with the schema."""
    database = engine.Database('sqlite:///%s' % (directory / 'cells.sqlite'), replicates=replicates)
    migration.sync(database)
    return database


class Agents:
    """Stands for the agents where something is asked of them directly."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    def call(self, ctxt, host, method, timeout=None, **kwargs):
        self.asked.append((host, method, kwargs))
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return answer(kwargs) if callable(answer) else answer


#: Seconds: hosts report once, and must stay up as long as a test takes on a busy machine.
DOWN_AFTER = 3600.0


class Cell:
    """What a cell has for its instances.

    :ivar looks: whether answers that come later are waited for.
    """

    name = 'leaf'
    looks = True

    def __init__(self, database, **means):
        self.database = database
        self.agents = Agents()
        self.means = Means(
            **{
                'cell': self.name,
                'hosts': self.agents,
                'database': database,
                'service_down_time': DOWN_AFTER,
                **means,
            }
        )
        self.handlers = action_handlers.ActionHandlers(self.means).by_name()
        instance = instance_handlers.InstanceHandlers(database, self.agents, self.means)
        self.handlers['run_compute_api_method'] = instance.run_compute_api_method
        self.outcomes = host_outcomes.HostOutcomes(
            database=database,
            of_builds=build_ends.BuildEnds(service_down_time=DOWN_AFTER),
            finish=results.finish,
            progress=results.progress,
        )

    # -- what there is --

    def write(self, function, *args, **kwargs):
        with self.database.write() as connection:
            return function(connection, *args, **kwargs)

    def host(self, name='h1', up=True, memory_mb=65536, disk_gb=1000, vcpus=32):
        """Make a host, or change whether it is up."""
        now = models.utcnow()
        seen = now if up else now - datetime.timedelta(seconds=2 * DOWN_AFTER)
        services.service_report(self.database, name, services.COMPUTE, 'compute', seen)
        with self.database.write() as connection:
            connection.execute(
                sa.update(models.Service)
                .where(models.Service.host == name)
                .values(last_seen_up=seen)
            )
        compute_nodes.compute_node_save(
            self.database,
            name,
            memory_mb=memory_mb,
            free_ram_mb=memory_mb,
            local_gb=disk_gb,
            free_disk_gb=disk_gb,
            vcpus=vcpus,
        )

    def flavor(self, flavorid, **values):
        sizes = {**SMALL, **values}
        self.write(flavors.flavor_create, {'name': flavorid, 'flavorid': flavorid, **sizes})

    def instance(self, metadata=None, fields=None, claimed=True, **values):
        """Make an instance, by default one that runs on h1; return its uuid."""
        uuid = new_uuid()
        values = {
            'uuid': uuid,
            'project_id': 'p1',
            'user_id': 'u1',
            'display_name': 'vm',
            'vm_state': 'active',
            'power_state': 1,
            'launched_at': LAUNCHED,
            'host': 'h1',
            'node': 'h1',
            'image_ref': 'image-1',
            **SMALL,
            **values,
        }
        with self.database.write() as connection:
            instances.instance_create(connection, values, metadata, fields)
            if claimed and values['host']:
                claims.claim_resize(
                    connection, uuid, values['host'], values['host'], Amount(1024, 10, 1)
                )
        return uuid

    def change(self, uuid, fields=None, **values):
        self.write(instances.instance_update, uuid, values, fields=fields)

    def volume(self, uuid, volume_id=None, **values):
        volume_id = volume_id or new_uuid()
        wanted = {
            'volume_id': volume_id,
            'source_type': 'volume',
            'destination_type': 'volume',
            'device_name': '/dev/vdb',
            **values,
        }
        self.write(block_devices.bdm_save, uuid, wanted)
        return volume_id

    def migration(self, uuid, **values):
        wanted = {
            'instance_uuid': uuid,
            'status': 'finished',
            'source_compute': 'h2',
            'source_node': 'h2',
            'dest_compute': 'h1',
            'dest_node': 'h1',
            **values,
        }
        return self.write(instance_migrations.migration_create, wanted)

    # -- orders --

    def send(self, operation, uuid, ctxt=OWNER, message_uuid=None, answered=False, **kwargs):
        """Order something by a message; return what its handler does."""
        message = self.message(operation, ctxt, message_uuid, answered)
        instance = instance_objects.Instance(uuid=uuid)
        return self._answer(self.write(self.handlers[operation], message, instance, **kwargs))

    def call(self, method, uuid, *args, ctxt=OWNER, message_uuid=None, answered=True, **kwargs):
        """Do something through ``run_compute_api_method``."""
        message = self.message('run_compute_api_method', ctxt, message_uuid, answered)
        info = {'method': method, 'method_args': [uuid, *args], 'method_kwargs': kwargs}
        return self._answer(self.write(self.handlers['run_compute_api_method'], message, info))

    def message(self, operation, ctxt=OWNER, message_uuid=None, answered=False):
        return messages.TargetedMessage(
            ctxt=ctxt.to_dict(),
            method_name=operation,
            method_kwargs={},
            direction=operations.Direction.DOWN,
            routing_path=paths.CellPath(('api', self.name)),
            uuid=message_uuid or new_uuid(),
            need_response=answered,
            target_cell=paths.CellPath(('api', self.name)),
        )

    def _answer(self, value):
        return value.answer() if self.looks and isinstance(value, dispatch.Later) else value

    # -- what comes of them --

    def open(self, uuid):
        """Return what agents are to do for an instance, in this order."""
        with self.database.read() as connection:
            return host_operations.ops_open(connection, uuid)

    def strays(self):
        """Return the hosts that are to remove a machine that is none of theirs, and the uuids."""
        with self.database.read() as connection:
            found = host_operations.ops_open(connection, host_operations.STRAY)
        assert all(one['method'] == 'terminate' for one in found)
        return sorted((one['host'], one['instance']['uuid']) for one in found)

    def accept(self, uuid):
        """Let the agent have the first of the open operations; return its row."""
        first = self.open(uuid)[0]
        with self.database.write() as connection:
            host_operations.ops_claim(connection, 'worker', first['host'], 30.0, 100)
            host_operations.ops_accepted(connection, [first['op_id']])
        return first

    def end(self, uuid, method=None, error=None, power_state=None, **values):
        """Let the first of the open operations end; return its row as it was."""
        first = self.open(uuid)[0]
        if method is not None:
            assert first['method'] == method
        if error is None:
            outcome = host_ops.Outcome(True, power_state, values)
        else:
            kind, text = (error, 'it broke') if isinstance(error, str) else error
            outcome = host_ops.Outcome(False, power_state, values, kind, text)
        assert self.outcomes.end(first['op_id'], outcome, first['host'])
        return first

    def progress(self, uuid, task_state, percent=None):
        first = self.open(uuid)[0]
        return self.write(
            self.outcomes.progress, first['op_id'], first['host'], task_state, percent
        )

    # -- what is so --

    def get(self, uuid, **kwargs):
        with self.database.read() as connection:
            return instances.instance_get(connection, uuid, **kwargs)

    def states(self, uuid):
        found = self.get(uuid, read_deleted='yes')
        return found.vm_state, found.task_state

    def devices(self, uuid):
        with self.database.read() as connection:
            return block_devices.bdm_get_all(connection, uuid)

    def claims(self, uuid):
        with self.database.read() as connection:
            return sorted(
                (one['host'], one['kind'], one['memory_mb'])
                for one in claims.claims_of(connection, uuid)
            )

    def migrations(self, uuid):
        filters = instance_migrations.Filters(instance_uuid=uuid)
        found = instance_migrations.migrations_get(self.database, filters)
        return [one.status for one in found]

    def faults(self, uuid):
        return self.rows(models.InstanceFault, instance_uuid=uuid)

    def history(self, uuid):
        """Return the actions of an instance, oldest first: name, message, events with results."""
        found = []
        for row in reversed(instance_actions.actions_get(self.database, uuid, 'yes')):
            events = instance_actions.action_events_get(self.database, row['id'])
            steps = [(one['event'], one['result']) for one in reversed(events)]
            found.append((row['action'], row['message'], steps))
        return found

    def rows(self, model, **which):
        table = model.__table__
        query = sa.select(table).where(*(table.c[name] == value for name, value in which.items()))
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def stored(self, uuid):
        """Return the row and the fields of an instance, to see that they stay as they are."""
        return [
            *self.rows(models.Instance, uuid=uuid),
            *self.rows(models.InstanceField, instance_uuid=uuid),
        ]

    def everything(self):
        """Return all that may have changed: to see that nothing has."""
        tables = (
            models.Instance,
            models.InstanceField,
            models.InstanceMetadata,
            models.InstanceAction,
            models.InstanceActionEvent,
            models.InstanceFault,
            models.BlockDeviceMapping,
            models.Migration,
            models.HostOperation,
            models.Claim,
            models.ConsoleAuthToken,
            models.Dirty,
        )
        return {model.__tablename__: self.rows(model) for model in tables}


def flavor(flavorid, **values):
    """Return a flavor as instances have it."""
    known = {'id': 7, 'name': flavorid, 'flavorid': flavorid, 'swap': 0, **SMALL, **values}
    return flavor_objects.Flavor(**known)
