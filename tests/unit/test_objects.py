import datetime
import hashlib
import json

import hypothesis
import pytest
from hypothesis import strategies as st
from oslo_versionedobjects import base as oslo_base
from oslo_versionedobjects import exception, fields

from cells import wire
from cells.objects import base, proxy, service
from tests.unit import builders

#: name -> version and fingerprint of the fields.
FINGERPRINTS = {
    'Service': ('1.18', '49d5b462fa5aa569'),
}

#: Fields of Service in liberty and mitaka: type, and whether it may be null. Nova's compute_node
#: is not there on purpose: nova hides it from those who read a service of another cell.
SERVICE_FIELDS = {
    'availability_zone': (fields.String, True),
    'binary': (fields.String, True),
    'created_at': (fields.DateTime, True),
    'deleted': (fields.Boolean, False),
    'deleted_at': (fields.DateTime, True),
    'disabled': (fields.Boolean, False),
    'disabled_reason': (fields.String, True),
    'forced_down': (fields.Boolean, False),
    'host': (fields.String, True),
    'id': (fields.Integer, False),
    'last_seen_up': (fields.DateTime, True),
    'report_count': (fields.Integer, False),
    'topic': (fields.String, True),
    'updated_at': (fields.DateTime, True),
    'version': (fields.Integer, False),
}

MOMENTS = st.datetimes(min_value=datetime.datetime(1000, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=datetime.UTC)
)
VALUES = {
    fields.String: builders.TEXT,
    fields.DateTime: MOMENTS,
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


def fingerprint(cls):
    return hashlib.sha256(repr(sorted(map(str_of, cls.fields.items()))).encode()).hexdigest()[:16]


def str_of(item):
    name, field = item
    return '%s: %r' % (name, field)


# -- classes --


@pytest.mark.parametrize(('name', 'cls'), base.registered().items())
def test_fields_do_not_change_without_a_new_version(name, cls):
    found = (cls.VERSION, fingerprint(cls))
    assert found == FINGERPRINTS.get(name), (
        'The fields of %s have changed, or it is new. Neighbours of other releases tell objects '
        'apart by their version: raise VERSION with a line on what is new, see that an older '
        'minor version can still be read, and put %r into FINGERPRINTS.' % (name, found)
    )


def test_every_fingerprint_is_of_a_class_that_is_there():
    assert FINGERPRINTS.keys() == base.registered().keys()


def test_a_service_has_the_fields_of_liberty_and_mitaka():
    found = {
        name: (type(field.AUTO_TYPE), field.nullable)
        for name, field in service.Service.fields.items()
    }
    assert found == SERVICE_FIELDS


@pytest.mark.parametrize('cls', base.registered().values())
def test_names_on_the_wire_are_those_of_nova(cls):
    assert cls().obj_to_primitive().keys() >= {
        'nova_object.name',
        'nova_object.namespace',
        'nova_object.version',
        'nova_object.data',
    }
    assert cls().obj_to_primitive()['nova_object.namespace'] == 'nova'


def test_nothing_of_ours_is_in_the_registry_of_the_library():
    found = oslo_base.VersionedObjectRegistry.obj_classes()
    ours = [
        cls.__name__
        for classes in found.values()
        for cls in classes
        if cls.__module__.partition('.')[0] == 'cells'
    ]
    assert ours == []
    assert not found.keys() & base.registered().keys()


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


@pytest.mark.parametrize('version', ['1.0', '1.18', '1.22', '1.18.1'])
def test_another_minor_version_is_read_as_far_as_it_is_known(version):
    data = {'id': 7, 'host': 'host1', 'uuid': builders.UUID, 'compute_node': None}
    one = base.from_primitive(envelope(version=version, data=data, changes=['uuid', 'host']))
    assert dict(one.items()) == {'id': 7, 'host': 'host1'}
    assert one.obj_what_changed() == {'host'}


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
    ],
)
def test_an_object_that_does_not_say_its_cell_is_bare(extra):
    assert type(proxy.from_envelope({**envelope(), **extra})) is service.Service
