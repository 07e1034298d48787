"""Requests to build, as callers of all releases give them."""

import copy
import json
import pathlib

import pytest

from cells import exceptions
from cells.endpoints import build_request
from cells.objects import base, flavor, instance, plain

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
UUID = '11111111-1111-4111-8111-111111111111'


def recorded(cap):
    """Return what nova's client sent, as the RPC server gives it to the endpoint."""
    path = GOLDEN / ('client-ocata-%s.json' % cap)
    [call] = [
        call
        for call in json.loads(path.read_text(encoding='utf-8'))
        if call['method'] == 'build_instances'
    ]
    args = call['sent'][0]['message']['args']
    return base.transform(args['build_inst_kwargs'], base.from_primitive)


def one(**values):
    return instance.Instance(uuid=UUID, **values)


@pytest.mark.parametrize('cap', ['none', 'kilo', 'havana'])
def test_what_nova_sent_under_each_cap_comes_to_the_same(cap):
    given = recorded(cap)
    kept = copy.deepcopy(given)
    found = build_request.checked(given)
    assert base.to_primitive(given) == base.to_primitive(kept)
    [made] = found['instances']
    wanted = recorded('none')['instances'][0]
    assert isinstance(made, instance.Instance)
    assert plain.flatten(made) == plain.flatten(wanted)
    size = found['filter_properties']['instance_type']
    assert (size.flavorid, size.memory_mb, size.extra_specs) == (
        '2',
        2048,
        {'hw:cpu_policy': 'shared'},
    )
    assert ('legacy_bdm' in found) == (cap == 'havana')


def test_instances_may_come_as_a_list_object_and_need_nothing_with_them():
    found = build_request.checked({'instances': instance.InstanceList(objects=[one()])})
    assert [made.uuid for made in found['instances']] == [UUID]
    assert found.keys() == {'instances'}


BAD = [
    (None, 'build_inst_kwargs is None'),
    ({}, 'instances is None'),
    ({'instances': []}, 'instances is []'),
    ({'instances': 'all'}, "instances is 'all'"),
    ({'instances': [5]}, 'instances[0] is 5, not an object Instance'),
    ({'instances': [flavor.Flavor(flavorid='1')]}, 'instances[0] is Flavor('),
    ({'instances': [instance.Instance()]}, 'instances[0] has no uuid'),
    ({'instances': [{'memory_mb': 5}]}, 'instances[0] has no uuid'),
    ({'instances': [{'uuid': 'x' * 40}]}, 'instances[0].uuid'),
    ({'instances': [{'uuid': UUID, 'memory_mb': 'much'}]}, 'instances[0] is no Instance'),
    ({'instances': [one(), one()]}, 'two of instances have the uuid'),
    ({'instances': [one(memory_mb=-1)]}, 'instances[0].memory_mb is -1'),
    ({'instances': [one(vcpus=2**40)]}, 'instances[0].vcpus is 1099511627776'),
    ({'instances': [one(flavor=flavor.Flavor(root_gb=-5))]}, 'instances[0].flavor.root_gb is -5'),
    ({'instances': [one()], 'unknown': 1}, "build_inst_kwargs has 'unknown'; there are"),
    ({'instances': [one()], 'image': 5}, 'image is 5'),
    ({'instances': [one()], 'filter_properties': []}, 'filter_properties is []'),
    (
        {'instances': [one()], 'filter_properties': {'instance_type': 'small'}},
        "filter_properties.instance_type is 'small', not an object Flavor",
    ),
    (
        {'instances': [one()], 'filter_properties': {'instance_type': {'vcpus': -1}}},
        'filter_properties.instance_type.vcpus is -1',
    ),
    (
        {'instances': [one()], 'filter_properties': {'scheduler_hints': 'x'}},
        "filter_properties.scheduler_hints is 'x'",
    ),
    ({'instances': [one()], 'injected_files': 'x'}, 'injected_files is a str'),
    ({'instances': [one()], 'injected_files': [['/a']]}, 'injected_files[0] is not a pair'),
    ({'instances': [one()], 'block_device_mapping': {'a': 1}}, 'block_device_mapping is'),
    ({'instances': [one()], 'security_groups': 'default'}, "security_groups is 'default'"),
]


@pytest.mark.parametrize(('given', 'text'), BAD)
def test_what_cannot_be_a_request_is_refused_by_name(given, text):
    with pytest.raises(exceptions.Invalid) as caught:
        build_request.checked(given)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    'given', [{'admin_password': ['geheim']}, {'injected_files': [['/geheim', ['geheim']]]}]
)
def test_x4_what_is_secret_is_not_in_the_error(given):
    with pytest.raises(exceptions.Invalid) as caught:
        build_request.checked({'instances': [one()], **given})
    assert 'geheim' not in str(caught.value)
