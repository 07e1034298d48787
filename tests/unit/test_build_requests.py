"""What build_instances may be given, and what a child gets of it."""

import copy
import json
import pathlib

import pytest

from cells import build_requests, exceptions, paths
from cells.build_requests import PLACEMENT, Size
from cells.objects import base as objects_base
from cells.objects import flavor, instance

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'intercell-rocky-api.json'
ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'
THREE = '33333333-3333-4333-8333-333333333333'
PATH = paths.CellPath(('api',))
SMALL = {'name': 'small', 'flavorid': '2', 'memory_mb': 2048, 'vcpus': 1, 'root_gb': 20}


def made_flavor(**values):
    return flavor.Flavor(**{**SMALL, 'ephemeral_gb': 10, **values})


def wanted(uuid=ONE, **values):
    return instance.Instance(**({} if uuid is None else {'uuid': uuid}), **values)


def kwargs(*instances, **values):
    return {
        'instances': list(instances or [wanted()]),
        'image': {'id': 'img-1', 'properties': {}},
        'filter_properties': {'instance_type': made_flavor(), 'scheduler_hints': {}},
        'admin_password': 'secret',
        **values,
    }


def nothing_known(flavorid):
    raise exceptions.FlavorNotFound(flavor_id=flavorid)


def parse(given, find_flavor=nothing_known):
    return build_requests.parse(given, find_flavor)


# -- what is asked for --


def test_sizes_come_from_the_flavor_of_the_request():
    (found,) = parse(kwargs(wanted(memory_mb=1, vcpus=99)))
    assert found.size == Size(2048, 30, 1)
    assert found.instance.uuid == ONE
    assert found.attempt_above is None


def test_without_one_from_that_of_the_instance_and_then_from_its_columns():
    one = wanted(ONE, flavor=made_flavor(memory_mb=512))
    two = wanted(TWO, memory_mb=1024, vcpus=2, root_gb=5, ephemeral_gb=None)
    found = parse(kwargs(one, two, filter_properties=None))
    assert [each.size for each in found] == [Size(512, 30, 1), Size(1024, 5, 2)]


def test_a_flavor_that_is_only_named_is_looked_up():
    given = kwargs(filter_properties={'instance_type': flavor.Flavor(flavorid='2')})
    (found,) = parse(given, lambda flavorid: {**SMALL, 'flavorid': flavorid, 'ephemeral_gb': 0})
    assert found.size == Size(2048, 20, 1)


@pytest.mark.parametrize(
    'given',
    [
        kwargs(filter_properties={'instance_type': flavor.Flavor(flavorid='nope')}),
        kwargs(filter_properties={}),
        kwargs(filter_properties=None),
    ],
)
def test_an_unknown_flavor_is_not_found(given):
    with pytest.raises(exceptions.FlavorNotFound):
        parse(given)


def test_the_attempts_of_the_cell_above_are_taken():
    given = kwargs(wanted(ONE), wanted(TWO), wanted(THREE))
    given['filter_properties'][PLACEMENT] = {ONE: 3, TWO: 'x', THREE: True}
    assert [one.attempt_above for one in parse(given)] == [3, None, None]


def test_a_list_that_is_an_object_is_taken_as_well():
    given = kwargs(instances=instance.InstanceList(objects=[wanted(ONE), wanted(TWO)]))
    assert [one.instance.uuid for one in parse(given)] == [ONE, TWO]
    raw = objects_base.to_primitive(given)
    assert [build_requests.uuid_of(one) for one in build_requests.envelopes(raw)] == [ONE, TWO]


def test_what_a_nova_of_rocky_really_sent():
    (entry,) = [one for one in json.loads(GOLDEN.read_text()) if one['method'] == 'build_instances']
    raw = entry['sent'][0]['json']['method_kwargs']['build_inst_kwargs']
    given = objects_base.transform(raw, objects_base.from_primitive)
    (found,) = parse(given)
    assert found.size == Size(2048, 20, 1)
    request = build_requests.request(raw, found.size, PATH)
    build_requests.check(request)
    assert build_requests.subset(raw, {found.instance.uuid: 1}, False, True) == raw


# -- what cannot be meant --


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        (None, 'build_inst_kwargs'),
        ([], 'build_inst_kwargs'),
        ({}, 'instances'),
        (kwargs(instances=[]), 'instances'),
        (kwargs(instances='abc'), 'instances'),
        (kwargs(instances=[{'uuid': ONE}]), 'instance 0 of the request is a dict'),
        (kwargs(wanted(), wanted(None)), 'instance 1 of the request has no uuid'),
        (kwargs(wanted('not-a-uuid')), 'instance 0 of the request has no uuid'),
        (kwargs(wanted(ONE), wanted(ONE)), 'twice'),
        (kwargs(filter_properties=[1]), 'filter_properties'),
        (kwargs(filter_properties={'instance_type': 'm1.small'}), 'instance_type'),
        (kwargs(filter_properties={'instance_type': made_flavor(memory_mb=-1)}), 'memory_mb'),
        (kwargs(filter_properties={'instance_type': made_flavor(memory_mb=0)}), 'memory_mb'),
        (kwargs(filter_properties={'instance_type': made_flavor(vcpus=0)}), 'vcpus'),
        (kwargs(filter_properties={'instance_type': made_flavor(root_gb=-5)}), 'root_gb'),
        (kwargs(filter_properties={'instance_type': made_flavor(ephemeral_gb=-5)}), 'ephemeral'),
        (kwargs(filter_properties={'instance_type': made_flavor(memory_mb=2**31)}), 'memory_mb'),
        (kwargs(filter_properties={'instance_type': {**SMALL, 'vcpus': 'one'}}), 'vcpus'),
    ],
)
def test_what_cannot_be_meant_is_named(given, text):
    with pytest.raises(exceptions.Invalid, match=text):
        parse(given)


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        (kwargs(image='img-1'), 'image'),
        (kwargs(image={'properties': []}), 'properties of the image'),
        (kwargs(filter_properties={'scheduler_hints': 'here'}), 'scheduler_hints'),
        (kwargs(filter_properties={'scheduler_hints': {'target_cell': 'a b'}}), 'target_cell'),
        (kwargs(filter_properties={'scheduler_hints': {'different_cell': [7]}}), 'different_cell'),
        (
            kwargs(
                filter_properties={
                    'scheduler_hints': {'target_cell': 'api!a', 'different_cell': 'api!a'}
                }
            ),
            'api!a and for a different one',
        ),
        (kwargs(image={'properties': {'hypervisor_version_requires': 'new'}}), 'requires'),
    ],
)
def test_hints_and_properties_that_cannot_be_meant_are_named(given, text):
    with pytest.raises(exceptions.Invalid, match=text):
        build_requests.check(build_requests.request(given, Size(1, 1, 1), PATH))


def test_the_instances_of_a_request_that_is_wrong_are_found_all_the_same():
    given = {
        'instances': [wanted(ONE), {'uuid': TWO}, {'uuid': 'x'}, wanted(None), None, {'uuid': ONE}]
    }
    assert build_requests.instances_of(given) == [ONE, TWO]
    for rubbish in (None, 7, {}, {'instances': None}, {'instances': 'abc'}, {'instances': {}}):
        assert build_requests.instances_of(rubbish) == []
        assert build_requests.attempts_above(rubbish) == {}
        assert build_requests.without_attempts(rubbish) == rubbish


# -- what a child gets --


def raw_kwargs():
    given = kwargs(
        *(
            wanted(uuid, display_name=uuid[:4], hostname='h-' + uuid[:4])
            for uuid in (ONE, TWO, THREE)
        ),
        requested_networks=None,
        security_groups=['default', 'größe'],
        something_new={'deep': [{'nova_object.name': 'Unknown', 'x': 1}]},
    )
    given['filter_properties']['scheduler_hints'] = {'group': 'g', 'target_cell': 'api!a'}
    given['filter_properties']['force_hosts'] = ['h1']
    return objects_base.to_primitive(given)


def test_c11_c12_a_child_gets_all_of_its_instances_and_all_else_as_it_came():
    raw = raw_kwargs()
    before = copy.deepcopy(raw)
    made = build_requests.subset(raw, {THREE: 1, ONE: 4}, ours=False, without_target=False)
    assert raw == before
    assert made.pop('instances') == [before['instances'][0], before['instances'][2]]
    before.pop('instances')
    assert made == before


def test_a_child_of_ours_gets_the_numbers_of_the_attempts_and_no_other_does():
    raw = raw_kwargs()
    raw['filter_properties'][PLACEMENT] = {ONE: 9, TWO: 9, THREE: 9}
    ours = build_requests.subset(raw, {TWO: 4}, ours=True, without_target=False)
    assert ours['filter_properties'][PLACEMENT] == {TWO: 4}
    plain = build_requests.subset(raw, {TWO: 4}, ours=False, without_target=False)
    assert PLACEMENT not in plain['filter_properties']
    bare = {'instances': raw['instances'], 'filter_properties': None}
    assert build_requests.subset(bare, {TWO: 4}, False, False)['filter_properties'] is None
    assert build_requests.subset(bare, {TWO: 4}, True, False)['filter_properties'] == {
        PLACEMENT: {TWO: 4}
    }


def test_a_plain_child_does_not_see_the_hint_that_has_led_to_it():
    made = build_requests.subset(raw_kwargs(), {ONE: 1}, ours=False, without_target=True)
    assert made['filter_properties']['scheduler_hints'] == {'group': 'g'}


def test_r12_hints_may_name_cells_by_the_paths_they_had():
    parse_path = paths.CellPath.parse
    aliases = paths.Aliases({parse_path('api!a'): parse_path('api!mid!a')})
    raw = raw_kwargs()
    hints = raw['filter_properties']['scheduler_hints']
    hints['different_cell'] = ['api!a!x', 'api!b']
    before = copy.deepcopy(raw)
    made = build_requests.with_present_paths(raw, aliases)
    assert raw == before
    assert made['filter_properties']['scheduler_hints'] == {
        'group': 'g',
        'target_cell': 'api!mid!a',
        'different_cell': ['api!mid!a!x', 'api!b'],
    }
    before['filter_properties'].pop('scheduler_hints')
    made['filter_properties'].pop('scheduler_hints')
    assert made == before


def test_without_aliases_or_hints_a_request_stays_the_very_same():
    raw = raw_kwargs()
    assert build_requests.with_present_paths(raw, paths.Aliases()) is raw
    bare = {'instances': [], 'filter_properties': None}
    aliases = paths.Aliases({paths.CellPath(('a',)): paths.CellPath(('b',))})
    assert build_requests.with_present_paths(bare, aliases) is bare


def test_what_came_past_a_plain_cell_expects_no_answer_here():
    given = kwargs(wanted())
    given['filter_properties'][PLACEMENT] = {ONE: 3}
    found = build_requests.without_attempts(given)
    assert build_requests.attempts_above(found) == {}
    assert {**found, 'filter_properties': None} == {**given, 'filter_properties': None}
    assert given['filter_properties'][PLACEMENT] == {ONE: 3}
    assert build_requests.without_attempts(found) is found
