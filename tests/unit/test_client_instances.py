"""What clients send for instances under version caps, beside what was recorded."""

import copy
import json

import oslo_messaging
import pytest

from cells import context, rpcapi
from cells.objects import base, block_device, flavor, instance
from tests.unit.test_contract import CALLS, Recorder, read

CTXT = context.RequestContext('u1', 'p1', request_id='req-1')
UUID = '11111111-1111-4111-8111-111111111111'


class Foreign:
    """An object of nova's own classes, which only says what it is on the wire."""

    def __init__(self, ours):
        self._envelope = base.to_primitive(ours)

    def obj_name(self):
        return self._envelope['nova_object.name']

    def obj_to_primitive(self):
        return copy.deepcopy(self._envelope)


class BrokenRecorder(Recorder):
    """Stands for a broker that takes nothing."""

    def _send(self, *args, **options):
        raise oslo_messaging.MessageDeliveryFailure('the broker is away')


def sent(cap, method, *args, **kwargs):
    recorder = Recorder()
    getattr(rpcapi.CellsAPI(recorder, version_cap=cap), method)(CTXT, *args, **kwargs)
    [(message, _)] = recorder.sent
    return message


def build_kwargs():
    [call] = [call for call in CALLS if call['method'] == 'build_instances']
    kwargs = read(call['kwargs'])
    kwargs['block_device_mapping'] = block_device.BlockDeviceMappingList(
        objects=kwargs['block_device_mapping']
    )
    return kwargs


def is_envelope(value):
    return 'nova_object.name' in value


# -- builds --


@pytest.mark.parametrize(
    ('cap', 'version', 'devices', 'instances', 'size'),
    [
        (None, '1.34', True, True, True),
        ('1.34', '1.34', True, True, True),
        ('1.33', '1.32', False, True, True),
        ('1.31', '1.30', False, False, True),
        ('juno', '1.8', False, False, False),
        ('havana', '1.8', False, False, False),
    ],
)
def test_a_build_is_sent_as_the_cap_wants_it(cap, version, devices, instances, size):
    given = build_kwargs()
    kept = copy.deepcopy(given)
    message = sent(cap, 'build_instances', **given)
    assert base.to_primitive(given) == base.to_primitive(kept)
    assert message['version'] == version
    wanted = message['args']['build_inst_kwargs']
    assert is_envelope(wanted['instances'][0]) == instances
    assert is_envelope(wanted['filter_properties']['instance_type']) == size
    assert wanted['filter_properties']['scheduler_hints'] == {}
    assert ('legacy_bdm' in wanted) == (not devices)
    found = wanted['block_device_mapping']
    if devices:
        assert is_envelope(found)
    else:
        assert [one['volume_id'] for one in found] == ['vol-1']
        assert not is_envelope(found[0])
    json.dumps(message)


def test_a_build_without_what_may_be_left_out_is_sent_under_every_cap():
    for cap in ('1.8', '1.30', '1.32', '1.34', None):
        message = sent(cap, 'build_instances', instances=[], image=None)
        assert message['args']['build_inst_kwargs'] == {'instances': [], 'image': None}


def test_an_image_is_always_plain():
    image = {'id': 'i', 'flavor': flavor.Flavor(flavorid='1')}
    message = sent(None, 'build_instances', image=image)
    assert message['args']['build_inst_kwargs']['image'] == {'id': 'i', 'flavor': {'flavorid': '1'}}


def test_objects_of_novas_own_classes_are_made_plain_as_well():
    foreign = Foreign(instance.Instance(uuid=UUID, memory_mb=5))
    message = sent('1.26', 'instance_delete_everywhere', foreign, 'hard')
    assert message['version'] == '1.0'
    assert message['args']['instance'] == {'uuid': UUID, 'memory_mb': 5}
    size = Foreign(flavor.Flavor(flavorid='2', memory_mb=7))
    message = sent(None, 'resize_instance', foreign, {}, None, size, None)
    assert message['args']['flavor'] == {'flavorid': '2', 'memory_mb': 7}
    assert message['args']['instance']['nova_object.data'] == {'uuid': UUID, 'memory_mb': 5}


# -- what goes up --


@pytest.mark.parametrize(
    ('cap', 'version'), [('1.0', '1.0'), ('havana', '1.0'), ('1.33', '1.0'), ('1.34', '1.34')]
)
def test_the_network_of_an_instance_goes_up_under_every_cap(cap, version):
    cache = instance.InstanceInfoCache(instance_uuid=UUID, network_info=[{'id': 'vif'}])
    for given in (cache, Foreign(cache), {'instance_uuid': UUID, 'network_info': [{'id': 'vif'}]}):
        message = sent(cap, 'instance_info_cache_update_at_top', given)
        assert (message['method'], message['version']) == ('instance_update_at_top', version)
        assert message['args']['instance'] == {
            'uuid': UUID,
            'info_cache': {'instance_uuid': UUID, 'network_info': [{'id': 'vif'}]},
        }


def test_the_network_of_an_instance_goes_up_at_a_version_that_every_release_reads():
    cache = instance.InstanceInfoCache(instance_uuid=UUID, network_info=[])
    message = sent(None, 'instance_info_cache_update_at_top', cache)
    envelope = message['args']['instance']
    assert envelope['nova_object.version'] == '2.0'
    assert sorted(envelope['nova_object.changes']) == ['info_cache', 'uuid']
    read(envelope)


def test_what_keeps_block_devices_from_being_sent_is_logged_and_nothing_else(caplog):
    api = rpcapi.CellsAPI(BrokenRecorder())
    api.bdm_update_or_create_at_top(CTXT, {'instance_uuid': UUID})
    api.bdm_destroy_at_top(CTXT, UUID, volume_id='v')
    lines = [one.getMessage() for one in caplog.records if one.levelname == 'ERROR']
    assert len(lines) == 2
    assert all('req-1' in line and 'the broker is away' in line for line in lines)


def test_what_keeps_anything_else_from_being_sent_is_raised():
    api = rpcapi.CellsAPI(BrokenRecorder())
    with pytest.raises(oslo_messaging.MessageDeliveryFailure):
        api.instance_update_at_top(CTXT, instance.Instance(uuid=UUID))
    with pytest.raises(oslo_messaging.MessageDeliveryFailure):
        api.start_instance(CTXT, instance.Instance(uuid=UUID))


# -- actions --


@pytest.mark.parametrize(
    ('cap', 'method', 'args', 'left_out'),
    [
        ('1.30', 'stop_instance', (), 'clean_shutdown'),
        ('1.32', 'resize_instance', ({}, None, {'flavorid': '1'}, None), 'clean_shutdown'),
        ('1.35', 'terminate_instance', ([],), 'delete_type'),
    ],
)
def test_arguments_that_a_cell_does_not_know_are_left_out(cap, method, args, left_out):
    given = instance.Instance(uuid=UUID)
    assert left_out not in sent(cap, method, given, *args)['args']
    assert left_out in sent(None, method, given, *args)['args']


def test_a_stop_that_is_waited_for_is_a_call_under_every_cap():
    for cap in ('1.12', '1.31', None):
        recorder = Recorder()
        api = rpcapi.CellsAPI(recorder, version_cap=cap)
        assert api.stop_instance(CTXT, instance.Instance(uuid=UUID), do_cast=False) == 'answer'
        [(message, waits)] = recorder.sent
        assert waits
        assert message['args']['do_cast'] is False
