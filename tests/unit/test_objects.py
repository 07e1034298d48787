import datetime
import json

import hypothesis
import pytest
from hypothesis import strategies as st
from oslo_versionedobjects import exception, fields

from cells import wire
from cells.objects import base, compute_node, proxy, service
from cells.objects import fields as objects_fields
from tests.unit import builders

#: Fields of Service in liberty and mitaka: type, and whether it may be null.
SERVICE_FIELDS = {
    'availability_zone': (fields.String, True),
    'binary': (fields.String, True),
    'created_at': (objects_fields.DateTime, True),
    'deleted': (fields.Boolean, False),
    'deleted_at': (objects_fields.DateTime, True),
    'disabled': (fields.Boolean, False),
    'disabled_reason': (fields.String, True),
    'forced_down': (fields.Boolean, False),
    'host': (fields.String, True),
    'id': (fields.Integer, False),
    'last_seen_up': (objects_fields.DateTime, True),
    'report_count': (fields.Integer, False),
    'topic': (fields.String, True),
    'updated_at': (objects_fields.DateTime, True),
    'version': (fields.Integer, False),
}

MOMENTS = st.datetimes(min_value=datetime.datetime(1000, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=datetime.UTC)
)
VALUES = {
    fields.String: builders.TEXT,
    objects_fields.DateTime: MOMENTS,
    fields.Boolean: st.booleans(),
    fields.Integer: st.integers(0, 2**31),
}
SERVICES = st.fixed_dictionaries(
    {},
    optional={
        name: (st.none() | VALUES[kind]) if nullable else VALUES[kind]
        for name, (kind, nullable) in SERVICE_FIELDS.items()
    },
).map(lambda values: service.Service(**values))


def envelope(**changes):
    """Return the envelope of a service, with other values for some of its keys."""
    values = {
        'name': 'Service',
        'namespace': 'nova',
        'version': '1.18',
        'data': {'id': 7, 'host': 'host1'},
        'changes': ['host'],
        **changes,
    }
    return {'nova_object.' + key: value for key, value in values.items()}


# -- values --


def test_a_field_that_is_not_set_cannot_be_read():
    one = service.Service(id=1)
    assert 'host' not in one
    with pytest.raises(AttributeError, match='Service.host is not set'):
        _ = one.host
    assert dict(one.items()) == {'id': 1}


def test_a_value_of_the_wrong_type_is_refused():
    with pytest.raises(ValueError, match='xyz'):
        service.Service(id='xyz')
    with pytest.raises(ValueError, match='cannot be None'):
        service.Service(id=None)


def test_what_is_set_to_another_value_counts_as_changed():
    one = base.from_primitive(envelope(changes=[]))
    one.host = 'host1'
    assert one.obj_what_changed() == set()
    one.host = 'host2'
    assert one.obj_what_changed() == {'host'}


def test_an_id_stays_what_it_is():
    one = service.Service(id=1)
    one.id = 1
    with pytest.raises(exception.ReadOnlyFieldError):
        one.id = 2
    assert one.id == 1


# -- envelopes --


@hypothesis.given(SERVICES)
def test_t10_an_object_survives_being_sent(one):
    for text in (wire.dumps(one), json.dumps(base.to_primitive(one))):
        arrived = base.from_primitive(json.loads(text))
        assert type(arrived) is service.Service
        assert dict(arrived.items()) == dict(one.items())
        assert arrived.obj_what_changed() == one.obj_what_changed()


def test_t10_objects_are_found_at_any_depth():
    one = service.Service(id=1, host='ü')
    sent = json.loads(json.dumps(base.to_primitive({'a': [one, {'b': (one, None)}], 'c': {1}})))
    arrived = base.transform(sent, base.from_primitive)
    assert [type(item) for item in arrived['a']] == [service.Service, dict]
    assert arrived['a'][1]['b'][0].host == 'ü'
    assert (arrived['a'][1]['b'][1], arrived['c']) == (None, [1])


def test_reading_an_envelope_does_not_change_it():
    sent = {'services': [envelope()]}
    before = json.dumps(sent)
    base.transform(sent, base.from_primitive)
    assert json.dumps(sent) == before


@pytest.mark.parametrize(
    ('version', 'kept'),
    [('1.0', '1.0'), ('1.18', '1.18'), ('1.22', '1.22'), ('1.18.1', '1.18'), ('1.99', '1.22')],
)
def test_another_minor_version_is_read_as_far_as_it_is_known(version, kept):
    data = {'id': 7, 'host': 'host1', 'colour': builders.UUID, 'shape': {'a': [None]}}
    one = base.from_primitive(envelope(version=version, data=data, changes=['shape', 'host']))
    assert dict(one.items()) == {'id': 7, 'host': 'host1'}
    assert one.obj_what_changed() == {'host'}
    assert one.VERSION == base.to_primitive(one)['nova_object.version'] == kept


WIDENED = {
    'id': 7,
    'host': {'a': 1},
    'created_at': 'yesterday',
    'compute_node': {
        'nova_object.name': 'ComputeNode',
        'nova_object.version': '2.0',
        'nova_object.namespace': 'nova',
        'nova_object.data': {},
    },
}


def test_what_a_newer_minor_version_has_widened_is_left_out_and_the_rest_is_taken():
    sent = envelope(version='1.99', data=WIDENED, changes=['id', 'host', 'compute_node'])
    one = base.from_primitive(sent)
    assert dict(one.items()) == {'id': 7}
    assert one.obj_what_changed() == {'id'}
    inside = envelope(version='1.22', data={'id': 7})
    inside['nova_object.data']['compute_node'] = {
        **WIDENED['compute_node'],
        'nova_object.version': '1.99',
        'nova_object.data': {'id': 3, 'supported_hv_specs': [5], 'host': 'h'},
    }
    assert dict(base.from_primitive(inside).compute_node.items()) == {'id': 3, 'host': 'h'}


@pytest.mark.parametrize('name', ['host', 'created_at', 'compute_node'])
def test_the_same_of_a_version_that_we_know_is_refused(name):
    sent = envelope(version='1.22', data={'id': 7, name: WIDENED[name]})
    with pytest.raises(exception.VersionedObjectsException):
        base.from_primitive(sent)


@pytest.mark.parametrize(
    'changes',
    [
        {'version': '2.0'},
        {'version': '0.9'},
        {'name': 'Instance2'},
        {'data': {'created_at': 'yesterday'}},
        {'data': {'created_at': 5}},
        {'data': {'id': 'seven'}},
        {'data': {'id': None}},
        {'data': {'host': {'a': 1}}},
        {'data': []},
        {'data': None},
        {'version': 'new'},
        {'version': None},
        {'version': '-1.2'},
        {'version': []},
        {'data': {'compute_node': None}},
        {'data': {'compute_node': {'nova_object.name': 'Flavor'}}},
        {'data': {'uuid': ['a']}},
        {'data': 'text'},
        {'name': []},
        {'changes': 5},
    ],
    ids=str,
)
def test_an_envelope_that_cannot_be_read_is_refused_by_one_family_of_errors(changes):
    with pytest.raises(exception.VersionedObjectsException):
        base.from_primitive(envelope(**changes))


@pytest.mark.parametrize('missing', ['version', 'data'])
def test_an_envelope_that_is_not_whole_is_refused(missing):
    sent = envelope()
    del sent['nova_object.' + missing]
    with pytest.raises(exception.VersionedObjectsException):
        base.from_primitive(sent)


@pytest.mark.parametrize('value', [None, 'Service', [], {}, {'name': 'Service'}])
def test_what_is_no_envelope_stays_what_it_is(value):
    assert not base.is_envelope(value)
    assert base.transform(value, base.from_primitive) == value


# -- objects of other cells --


@pytest.fixture
def remote():
    return proxy.ServiceProxy(
        service.Service(id=7, host='host1', binary='nova-compute', disabled=False), 'api!leaf'
    )


def test_a_service_of_another_cell_shows_its_cell_in_id_and_host(remote):
    assert (remote.id, remote.host) == ('api!leaf@7', 'api!leaf@host1')
    assert (remote['id'], remote['host']) == ('api!leaf@7', 'api!leaf@host1')
    assert remote.cell_path == 'api!leaf'
    assert (remote.binary, remote['disabled']) == ('nova-compute', False)
    assert dict(remote.items()) == {
        'id': 'api!leaf@7',
        'host': 'api!leaf@host1',
        'binary': 'nova-compute',
        'disabled': False,
    }


def test_a_service_of_another_cell_hides_its_compute_node(remote):
    with pytest.raises(AttributeError, match='compute_node'):
        _ = remote.compute_node
    with pytest.raises(AttributeError, match='compute_node'):
        _ = remote['compute_node']
    assert ('host' in remote, 'topic' in remote) == (True, False)


def test_what_is_hidden_is_not_listed():
    remote = proxy.ServiceProxy(service.Service(id=7, compute_node=compute_node.ComputeNode()), 'a')
    assert 'compute_node' not in remote
    assert dict(remote.items()) == {'id': 'a@7'}


def test_a_compute_node_of_another_cell_shows_its_cell_in_id_and_host():
    one = compute_node.ComputeNode(id=3, host='host1', vcpus=4, hypervisor_hostname='node1')
    sent = proxy.add_cell(base.to_primitive(one), proxy.ComputeNodeProxy, 'api!leaf')
    arrived = proxy.from_envelope(json.loads(json.dumps(sent)))
    assert type(arrived) is proxy.ComputeNodeProxy
    assert dict(arrived.items()) == {
        'id': 'api!leaf@3',
        'host': 'api!leaf@host1',
        'vcpus': 4,
        'hypervisor_hostname': 'node1',
    }


def test_a_service_says_over_the_wire_which_cell_it_is_from():
    plain = base.to_primitive(service.Service(id=7, host='host1'))
    before = json.dumps(plain)
    sent = proxy.add_cell(plain, proxy.ServiceProxy, 'api!leaf')
    assert json.dumps(plain) == before
    assert {key: sent[key] for key in sent if key not in plain} == {
        'cell_proxy.class_name': 'ServiceProxy',
        'cell_proxy.cell_path': 'api!leaf',
    }
    arrived = proxy.from_envelope(json.loads(json.dumps(sent)))
    assert type(arrived) is proxy.ServiceProxy
    assert (arrived.id, arrived.host) == ('api!leaf@7', 'api!leaf@host1')
    assert type(base.from_primitive(sent)) is service.Service


@pytest.mark.parametrize(
    'extra',
    [
        {},
        {'cell_proxy.class_name': 'ServiceProxy'},
        {'cell_proxy.cell_path': 'api!leaf'},
        {'cell_proxy.class_name': 'Popen', 'cell_proxy.cell_path': 'api!leaf'},
        {'cell_proxy.class_name': 'ServiceProxy', 'cell_proxy.cell_path': 5},
        {'cell_proxy.class_name': ['ServiceProxy'], 'cell_proxy.cell_path': 'api'},
    ],
)
def test_an_object_that_does_not_say_its_cell_is_bare(extra):
    assert type(proxy.from_envelope({**envelope(), **extra})) is service.Service
