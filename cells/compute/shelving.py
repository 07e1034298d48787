"""Shelving: an instance becomes an image and gives its host back, until it is wanted again."""

from typing import Any, Final

from cells import arguments, exceptions
from cells.compute import ending, flavor_sizes, images, network, placing, power, states
from cells.compute.actions import Action, Request
from cells.compute.ending import Completion, End
from cells.compute.keys import derived
from cells.db import claims, console_tokens, models
from cells.db import faults as db_faults
from cells.db import instance_actions as db_actions

SHELVED_AT, IMAGE_ID, SHELVED_HOST = power.SHELVE_KEYS


def _shutdown_arguments(clean_shutdown: object = True) -> dict[str, Any]:
    arguments.boolean('clean_shutdown', clean_shutdown)
    return {}


# -- shelve --


def _shelve(request: Request) -> None:
    host, offload = request.host(), request.means.shelved_offload_time == 0
    request.begin()
    if images.is_volume_backed(request):
        # Its disk stays where it is.
        request.order(host, 'shelve_offload', notes={'shelved_at': True})
    else:
        image_id = derived(request.key, 'shelved image')
        request.order(
            host,
            'shelve',
            {'image_id': image_id},
            notes={'image_id': image_id, 'offload': offload},
        )


def _shelved(end: End) -> None:
    if end.instance is None:
        return
    offload = bool(end.notes.get('offload'))
    settled = end.settle(
        {'task_state': states.SHELVING_OFFLOADING if offload else None},
        {'system_metadata': _described(end, end.notes['image_id'])},
    )
    if settled and offload:
        end.follow(end.host, 'shelve_offload')


def _described(end: End, image_id: str | None) -> dict[str, Any]:
    assert end.instance is not None
    system = {
        **end.instance.system_metadata,
        SHELVED_AT: models.utcnow().isoformat(timespec='microseconds'),
        SHELVED_HOST: end.host,
    }
    if image_id is not None:
        system[IMAGE_ID] = image_id
    return system


def _offload(request: Request) -> None:
    host = request.host()
    request.begin()
    request.order(host, 'shelve_offload')


def _offloaded(end: End) -> None:
    if not end.is_ours():
        return
    assert end.instance is not None
    fields = {}
    if end.notes.get('shelved_at'):
        fields['system_metadata'] = _described(end, None)
    values: dict[str, Any] = {'host': None, 'node': None}
    if end.outcome.power_state is not None:
        values['power_state'] = end.outcome.power_state
    end.settle(values, fields)
    placing.release(end.connection, end.uuid, end.host)
    console_tokens.tokens_delete(end.connection, end.uuid)


# -- unshelve --


def _unshelve(request: Request) -> None:
    instance = request.instance
    if instance.vm_state == states.SHELVED:
        host = request.host()
        request.begin()
        request.order(host, 'start', then='unshelve_start')
        return
    image_id = instance.system_metadata.get(IMAGE_ID)
    if not image_id and not images.is_volume_backed(request):
        _without_image(request)
        return
    amount = flavor_sizes.amount_of(flavor_sizes.of_instance(instance))
    found = placing.place(
        request.connection,
        instance.uuid,
        amount,
        service_down_time=request.means.service_down_time,
    )
    if isinstance(found, list):
        raise exceptions.NoValidHost(reason='; '.join(found))
    request.begin()
    request.order(
        found[0],
        'unshelve',
        {'image_id': image_id},
        notes={
            'elsewhere': True,
            'demand': list(amount),
        },
    )


def _without_image(request: Request) -> None:
    """An instance whose image nobody knows cannot come back: its user is to see why."""
    request.begin({'vm_state': states.ERROR, 'task_state': None})
    db_actions.action_end(request.connection, str(request.action_uuid), db_actions.ERROR)
    db_faults.fault_create(
        request.connection,
        request.instance.uuid,
        'The instance cannot be unshelved: the image that it was shelved to is not known',
        uuid=derived(request.key, 'fault'),
    )


def _unshelved(end: End) -> None:
    if not end.is_ours():
        end.remove_machine()
        return
    assert end.instance is not None
    held = claims.claims_of(end.connection, end.uuid)
    node = next((one['node'] for one in held if one['host'] == end.host), end.host)
    end.settle(
        {
            'host': end.host,
            'node': end.outcome.values.get('node') or node,
            'launched_at': ending.now(),
            'launched_on': end.host,
        },
        {
            'system_metadata': power.without(end.instance.system_metadata, *power.SHELVE_KEYS),
            **network.fields_of(end.uuid, end.outcome.values),
        },
    )


def _not_unshelved(end: End) -> None:
    missing = end.outcome.error_type == exceptions.ImageNotFound.__name__
    end.fail({'vm_state': states.ERROR} if missing else {})
    placing.release(end.connection, end.uuid, end.host)


def _started(end: End) -> None:
    if end.instance is not None:
        system = power.without(end.instance.system_metadata, *power.SHELVE_KEYS)
        end.settle(fields={'system_metadata': system})


_OFF_LIMITS: Final[dict[str, Any]] = {
    'unlocked': True,
    'task_states': states.IDLE,
    'launched': True,
    'expects': states.IDLE,
}

ACTIONS: Final = (
    Action(
        'shelve',
        perform=_shelve,
        accepts=_shutdown_arguments,
        policy='compute:shelve',
        vm_states=frozenset({states.ACTIVE, states.STOPPED, states.PAUSED, states.SUSPENDED}),
        task_state=states.SHELVING,
        record='shelve',
        **_OFF_LIMITS,
    ),
    Action(
        'shelve_offload',
        perform=_offload,
        accepts=_shutdown_arguments,
        policy='compute:shelve_offload',
        vm_states=frozenset({states.SHELVED}),
        task_state=states.SHELVING_OFFLOADING,
        **_OFF_LIMITS,
    ),
    Action(
        'unshelve',
        perform=_unshelve,
        policy='compute:unshelve',
        vm_states=frozenset({states.SHELVED, states.SHELVED_OFFLOADED}),
        task_state=states.UNSHELVING,
        record='unshelve',
        **_OFF_LIMITS,
    ),
)

COMPLETIONS: Final = {
    'shelve': Completion(
        (
            states.SHELVING,
            states.SHELVING_IMAGE_PENDING_UPLOAD,
            states.SHELVING_IMAGE_UPLOADING,
        ),
        states.SHELVED,
        succeeded=_shelved,
    ),
    'shelve_offload': Completion(
        (states.SHELVING, states.SHELVING_OFFLOADING),
        states.SHELVED_OFFLOADED,
        reset=True,
        succeeded=_offloaded,
    ),
    'unshelve_start': Completion(
        (states.UNSHELVING, states.POWERING_ON), states.ACTIVE, succeeded=_started
    ),
    'unshelve': Completion(
        (states.UNSHELVING, states.SPAWNING),
        states.ACTIVE,
        reset=True,
        succeeded=_unshelved,
        failing=_not_unshelved,
    ),
}
