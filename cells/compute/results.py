"""What comes of orders to agents: :func:`finish`, :func:`progress`, :func:`power_sync`.

Everything an agent says is checked against what the instance is now, in one transaction
and by compare-and-set. An instance that has moved on is left alone.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from cells import context, exceptions, messages
from cells.compute import (
    deletion,
    ending,
    guest,
    images,
    leaving,
    metadata,
    network,
    orders,
    power,
    resize_steps,
    shelving,
    states,
    volumes,
)
from cells.compute.host_ops import Outcome
from cells.db import instances as db_instances
from cells.objects.instance import Instance

LOG = logging.getLogger(__name__)

#: What follows on an order, by what it was given to do or by ``then`` in its notes. Builds
#: are not among them (:mod:`cells.compute.builds`).
COMPLETIONS: Final[dict[str, ending.Completion]] = {
    name: completion
    for subject in (
        deletion,
        guest,
        images,
        leaving,
        metadata,
        network,
        power,
        resize_steps,
        shelving,
        volumes,
    )
    for name, completion in subject.COMPLETIONS.items()
}

#: What a host calls the steps of a build, for an instance that gets its disk anew.
_REBUILD: Final = {
    states.BLOCK_DEVICE_MAPPING: states.REBUILD_BLOCK_DEVICE_MAPPING,
    states.SPAWNING: states.REBUILD_SPAWNING,
}
#: What a host calls the steps of a snapshot, for an instance that is shelved.
_SHELVE: Final = {
    states.IMAGE_PENDING_UPLOAD: states.SHELVING_IMAGE_PENDING_UPLOAD,
    states.IMAGE_UPLOADING: states.SHELVING_IMAGE_UPLOADING,
}
_WORDS: Final = {'evacuate': _REBUILD, 'shelve': _SHELVE}


def finish(connection: sa.Connection, operation: Mapping[str, Any], outcome: Outcome) -> None:
    """Do what follows on the outcome of an order, in the transaction that ends it.

    :param operation: its row, values by column.
    """
    then = _then(operation)
    completion = COMPLETIONS.get(then)
    if completion is None:
        LOG.error('Nothing follows on %s (%s)', operation['op_id'], then)
        completion = ending.Completion(succeeded=lambda end: None)
    ending.End(
        connection=connection,
        operation=operation,
        outcome=outcome,
        notes=operation['notes'] or {},
        completion=completion,
        ctxt=context.RequestContext.from_wire(operation['ctxt'] or {}),
        found=_find(connection, str(operation['instance_uuid'])),
    ).run()


def progress(
    connection: sa.Connection,
    operation: Mapping[str, Any],
    task_state: object,
    percent: object = None,
) -> bool:
    """Note how far an order is; False for what is no step forward.

    :param task_state: the step that the agent has come to.
    :param percent: how much of all is done.
    """
    then = _then(operation)
    steps = COMPLETIONS.get(then, ending.Completion()).tasks
    wanted = _WORDS.get(then, {}).get(str(task_state), str(task_state))
    if wanted not in steps:
        return False
    earlier = steps[: steps.index(wanted) + 1]
    values: dict[str, Any] = {'task_state': wanted}
    if isinstance(percent, int) and 0 <= percent <= 100:
        values['progress'] = percent
    try:
        changed = db_instances.instance_update(
            connection, str(operation['instance_uuid']), values, {'task_state': earlier}
        )
    except (exceptions.InstanceNotFound, exceptions.InstanceUpdateConflict) as error:
        LOG.debug('%s is no step of %s: %s', task_state, operation['op_id'], error)
        return False
    return bool(changed)


def power_sync(connection: sa.Connection, uuid: str, power_state: int) -> None:
    """Take what the host of an instance sees of its machine, with which nothing is being done.

    One that runs and was found switched off has stopped; one that is stopped and was found
    running is stopped again.
    """
    instance = _find(connection, uuid)
    if instance is None or not instance.host or instance.task_state is not None:
        return
    host = str(instance.host)
    values: dict[str, Any] = {'power_state': power_state}
    if power_state in states.OFF and instance.vm_state in _ON:
        LOG.warning('Instance %s has stopped by itself on host %s', uuid, host)
        values['vm_state'] = states.STOPPED
    runs = power_state in (states.RUNNING, states.POWER_PAUSED)
    if instance.vm_state == states.STOPPED and runs:
        LOG.warning('Instance %s runs on host %s and is to be stopped', uuid, host)
        values['task_state'] = states.POWERING_OFF
    db_instances.instance_update(connection, uuid, values, {'task_state': None})
    if values.get('task_state') is not None:
        orders.give(
            connection,
            orders.Order(
                op_id='%s.0' % messages.new_uuid(),
                host=host,
                method='stop',
                args={'clean_shutdown': True},
                then='stop',
                notes={},
                action_uuid=None,
            ),
            db_instances.instance_get(connection, uuid),
            context.background(),
        )


#: What an instance is that has its machine switched on.
_ON: Final = frozenset({states.ACTIVE, states.PAUSED})


def _then(operation: Mapping[str, Any]) -> str:
    notes = operation['notes'] or {}
    return str(notes.get('then') or operation['method'])


def _find(connection: sa.Connection, uuid: str) -> Instance | None:
    try:
        return db_instances.instance_get(connection, uuid, lock=True)
    except exceptions.InstanceNotFound:
        return None
