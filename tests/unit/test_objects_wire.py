"""Every class to the wire and back, at every release, and what rubbish does to it.

The envelopes are made from the facts, not from the classes that read them.
"""

import copy
import datetime
import functools
import ipaddress
import json
import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st
from oslo_versionedobjects import exception

from cells import versions, wire
from cells.objects import base, block_device, instance, plain, proxy, service
from tests.unit import builders

SPEC = json.loads(
    (pathlib.Path(__file__).parents[1] / 'contract' / 'objects.json').read_text(encoding='utf-8')
)['objects']
ADDRESSES = {
    'IPV4Address': st.ip_addresses(v=4).map(str),
    'IPV6Address': st.ip_addresses(v=6).map(str),
    'IPAddress': st.ip_addresses().map(str),
}
NUMBERS = st.integers(-(2**63), 2**63)
WORDS = builders.TEXT
VALUES = {
    'Boolean': st.booleans(),
    'DateTime': st.datetimes().map(lambda one: one.isoformat()[:19] + 'Z'),
    'Float': st.floats(allow_nan=False, allow_infinity=False),
    'Integer': NUMBERS,
    'NetworkModel': st.lists(builders.JSON_OBJECTS, max_size=2).map(json.dumps),
    'SensitiveString': WORDS,
    'String': WORDS,
    'UUID': st.uuids().map(str) | WORDS,
    'dict of Integer': st.dictionaries(WORDS, NUMBERS, max_size=3),
    'dict of List': st.dictionaries(WORDS, st.lists(WORDS, max_size=2), max_size=3),
    'dict of String': st.dictionaries(WORDS, WORDS, max_size=3),
    'dict of String (nullable values)': st.dictionaries(WORDS, st.none() | WORDS, max_size=3),
    'list of Dict': st.lists(st.dictionaries(WORDS, st.none() | WORDS, max_size=2), max_size=2),
    'list of String': st.lists(WORDS, max_size=3),
    'set of Integer': st.sets(NUMBERS, max_size=3).map(sorted),
    **ADDRESSES,
}


def facts_of(name):
    return {**(SPEC[name].get('fields_mitaka') or {}), **(SPEC[name].get('fields_rocky') or {})}


def versions_of(name):
    return sorted({one for text in SPEC[name]['versions'].values() for one in text.split(' and ')})


def number(version):
    return tuple(map(int, version.split('.')))


@st.composite
def values(draw, fact):
    if fact['nullable'] and draw(st.integers(0, 3)) == 0:
        return None
    if 'valid_values' in fact:
        return draw(st.sampled_from(fact['valid_values']))
    if fact['type'] == 'object':
        return draw(envelopes(fact['object']))
    if fact['type'] == 'list of objects':
        return draw(st.lists(envelopes(fact['object']), max_size=2))
    return draw(VALUES[fact['type']])


@st.composite
def _envelopes(draw, name):
    if name not in SPEC:
        return written(name, '1.7', draw(builders.JSON_OBJECTS), [])
    facts = facts_of(name)
    chosen = st.lists(st.sampled_from(sorted(facts) or ['']), unique=True, max_size=7)
    data = {key: draw(values(facts[key])) for key in draw(chosen) if key}
    changes = {
        key
        for key in data
        if draw(st.booleans()) or (facts[key]['type'] == 'object' and changed(data[key]))
    }
    if name.endswith('List') and any(map(changed, data.get('objects', ()))):
        changes.add('objects')
    return written(name, draw(st.sampled_from(versions_of(name))), data, sorted(changes))


@functools.cache
def envelopes(name):
    """Envelopes of a class as nova writes them; of one that we do not know, anything."""
    return _envelopes(name)


def written(name, version, data, changes):
    made = {
        'nova_object.name': name,
        'nova_object.namespace': 'nova',
        'nova_object.version': version,
        'nova_object.data': data,
    }
    return {**made, 'nova_object.changes': changes} if changes else made


def changed(envelope):
    return envelope is not None and bool(envelope.get('nova_object.changes'))


def all_in(value):
    """Yield the envelopes in a value that are of classes of ours."""
    if isinstance(value, dict):
        if value.get('nova_object.name') in SPEC:
            yield value
        for item in value.values():
            yield from all_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from all_in(item)


FEW = hypothesis.settings(
    max_examples=20,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
SOME = hypothesis.settings(FEW, max_examples=150)


# -- there and back --


@pytest.mark.parametrize('name', SPEC)
@FEW
@hypothesis.given(data=st.data())
def test_t10_what_comes_from_a_neighbour_goes_on_as_it_came(name, data):
    sent = data.draw(envelopes(name))
    arrived = base.from_primitive(json.loads(json.dumps(sent)))
    assert type(arrived) is base.registered()[name]
    assert sent['nova_object.version'] == arrived.VERSION
    for text in (wire.dumps(arrived), json.dumps(base.to_primitive(arrived))):
        assert json.loads(text) == sent


@pytest.mark.parametrize('name', SPEC)
@FEW
@hypothesis.given(data=st.data())
def test_t10_an_object_that_is_made_here_arrives_with_its_type_and_values(name, data):
    cls = base.registered()[name]
    given = dict(base.from_primitive(data.draw(envelopes(name))).items())
    made = cls(**given)
    arrived = base.from_primitive(json.loads(wire.dumps(made)))
    assert (type(arrived), arrived.VERSION) == (cls, cls.VERSION)
    assert arrived.obj_what_changed() == made.obj_what_changed() == given.keys()
    assert plain.flatten(arrived) == plain.flatten(made)


@SOME
@hypothesis.given(st.sampled_from(sorted(SPEC)).flatmap(envelopes), st.data())
def test_t10_what_is_sent_to_a_release_is_what_it_knows(sent, data):
    release = data.draw(st.sampled_from(list(versions.OBJECT_VERSIONS)))
    arrived = base.from_primitive(sent)
    if arrived.obj_name() not in versions.OBJECT_VERSIONS[release]:
        with pytest.raises(ValueError, match='%s.*%s' % (arrived.obj_name(), release)):
            base.to_primitive(arrived, release)
        return
    made = base.to_primitive(arrived, release)
    for envelope in all_in(made):
        name = envelope['nova_object.name']
        wanted = SPEC[name]['versions'][release].split()[-1]
        assert envelope['nova_object.version'] == wanted
        known = {
            key for key, fact in facts_of(name).items() if number(fact['since']) <= number(wanted)
        }
        assert known >= envelope['nova_object.data'].keys()
        assert known >= set(envelope.get('nova_object.changes', ()))
    kept = made['nova_object.data']
    given = sent['nova_object.data']
    assert all(kept[key] == given[key] for key in kept if not list(all_in(given[key])))
    assert json.loads(wire.dumps(base.to_primitive(arrived))) == sent


def test_objects_that_a_release_does_not_know_are_left_out_with_their_changes():
    one = instance.Instance(
        uuid=builders.UUID,
        trusted_certs=instance.TrustedCerts(ids=['a']),
        services=service.ServiceList(objects=[service.Service(id=1, uuid=builders.UUID)]),
    )
    assert base.to_primitive(one, 'liberty') == {
        'nova_object.name': 'Instance',
        'nova_object.namespace': 'nova',
        'nova_object.version': '2.0',
        'nova_object.data': {'uuid': builders.UUID},
        'nova_object.changes': ['uuid'],
    }
    sent = base.to_primitive([{'a': one}], 'newton')[0]['a']
    assert (sent['nova_object.version'], sent['nova_object.changes']) == (
        '2.3',
        ['services', 'uuid'],
    )
    services = sent['nova_object.data']['services']
    assert services['nova_object.version'] == '1.19'
    assert services['nova_object.data']['objects'][0] == {
        'nova_object.name': 'Service',
        'nova_object.namespace': 'nova',
        'nova_object.version': '1.20',
        'nova_object.data': {'id': 1},
        'nova_object.changes': ['id'],
    }


def test_the_old_form_of_an_instance_is_read_and_goes_to_a_release_that_has_it():
    sent = written('Instance', '1.19', {'uuid': 'u', 'scheduled_at': None, 'vcpus': 1}, ['vcpus'])
    one = base.from_primitive(sent)
    assert dict(one.items()) == {'uuid': 'u', 'vcpus': 1}
    assert one.VERSION == '1.19'
    assert base.to_primitive(one, 'liberty')['nova_object.version'] == '2.0'
    assert base.to_primitive(one, 'havana')['nova_object.version'] == '1.9'


@pytest.mark.parametrize('release', ['grizzly', 'train', '', 'Liberty'])
def test_a_release_that_is_none_is_refused(release):
    with pytest.raises(ValueError, match='havana, icehouse'):
        base.to_primitive({'a': 1}, release)


def test_an_object_of_a_class_that_we_do_not_know_goes_on_where_one_may_stand():
    bus = written('PCIDeviceBus', '1.0', {'address': '0000:00:02.0'}, ['address'])
    device = written('NetworkInterfaceMetadata', '1.0', {'mac': 'a', 'bus': bus}, [])
    sent = written(
        'Instance',
        '2.3',
        {'device_metadata': written('InstanceDeviceMetadata', '1.0', {'devices': [device]}, [])},
        [],
    )
    one = base.from_primitive(sent)
    assert base.to_primitive(one) == sent
    known = base.to_primitive(one, 'rocky')['nova_object.data']['device_metadata']
    assert known['nova_object.data'] == {}
    assert plain.flatten(one)['device_metadata']['devices'][0]['mac'] == 'a'
    for field in ('flavor', 'info_cache', 'trusted_certs'):
        with pytest.raises(exception.VersionedObjectsException):
            base.from_primitive(written('Instance', '2.3', {field: device}, []))


# -- values --


def test_times_are_utc_and_to_the_second_on_the_wire():
    east = datetime.timezone(datetime.timedelta(hours=2))
    for given in (
        datetime.datetime(2016, 3, 1, 12, 0, 0, 999999),
        datetime.datetime(2016, 3, 1, 14, 0, tzinfo=east),
        '2016-03-01T14:00:00+02:00',
        '2016-03-01T12:00:00.5',
    ):
        made = base.to_primitive(instance.Instance(launched_at=given))
        assert made['nova_object.data'] == {'launched_at': '2016-03-01T12:00:00Z'}


@pytest.mark.parametrize('text', ['0001-01-01T00:00:00Z', '9999-12-31T23:59:59Z'])
def test_any_year_is_written_with_four_digits(text):
    one = base.from_primitive(written('Instance', '2.0', {'launched_at': text}, []))
    assert base.to_primitive(one)['nova_object.data'] == {'launched_at': text}


def test_the_network_is_a_list_here_and_a_text_on_the_wire():
    vifs = [{'id': 'a', 'network': {'label': 'ü', 'subnets': []}}]
    one = instance.InstanceInfoCache(network_info=vifs)
    assert one.network_info == vifs
    sent = base.to_primitive(one)['nova_object.data']['network_info']
    assert json.loads(sent) == vifs
    assert base.from_primitive(base.to_primitive(one)).network_info == vifs


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('access_ip_v4', '2001:db8::1'),
        ('access_ip_v6', '192.0.2.1'),
        ('access_ip_v4', '192.0.2'),
        ('access_ip_v4', []),
        ('flavor', None),
        ('flavor', []),
        ('flavor', {}),
        ('flavor', written('Service', '1.18', {}, [])),
        ('flavor', written('Flavor', '2.0', {}, [])),
        ('flavor', {'nova_object.name': ['Flavor']}),
        ('deleted', []),
        ('id', float('inf')),
        ('id', '1e5'),
        ('launched_at', '0001-01-01T00:00:00+14:00'),
        ('launched_at', '2016-02-30T00:00:00Z'),
        ('metadata', {'a': None}),
        ('metadata', {'a': []}),
        ('metadata', []),
        ('pci_devices', written('PciDeviceList', '1.3', {'objects': {}}, [])),
        ('pci_devices', written('PciDeviceList', '1.3', {'objects': [None]}, [])),
        ('info_cache', written('InstanceInfoCache', '1.5', {'network_info': '[1]'}, [])),
        ('info_cache', written('InstanceInfoCache', '1.5', {'network_info': '{'}, [])),
        ('info_cache', written('InstanceInfoCache', '1.5', {'network_info': '[' * 100000}, [])),
        ('uuid', None),
        ('uuid', 5),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_value_that_does_not_fit_is_refused(field, value):
    with pytest.raises(exception.VersionedObjectsException):
        base.from_primitive(written('Instance', '2.0', {field: value}, []))


def test_a_field_that_does_not_exist_cannot_be_set():
    with pytest.raises(TypeError, match='Service has no field colour'):
        service.Service(colour='red')


def test_collections_are_plain_and_a_copy_shares_nothing():
    given = {'a': 'b'}
    one = instance.Instance(id=1, metadata=given, launched_at='2016-03-01T12:00:00Z')
    one.services = service.ServiceList(objects=[service.Service(id=1)])
    given['c'] = 'd'
    assert (type(one.metadata), one.metadata) == (dict, {'a': 'b'})
    assert type(one.services.objects) is list
    made = base.from_primitive(base.to_primitive(one, 'mitaka'))
    again = copy.deepcopy(made)
    assert base.to_primitive(again) == base.to_primitive(made)
    assert again.VERSION == '2.1'
    assert again.services[0] is not made.services[0]
    again.metadata['e'] = 'f'
    assert made.metadata == {'a': 'b'}


def test_secrets_of_volumes_are_not_shown():
    one = block_device.BlockDeviceMapping(connection_info='{"auth_password": "hunter2"}')
    assert 'hunter2' not in repr(one)
    assert 'hunter2' in wire.dumps(one)


def test_what_changes_inside_counts_outside_until_it_is_reset():
    cache = written('InstanceInfoCache', '1.5', {'network_info': '[]'}, [])
    one = base.from_primitive(written('Instance', '2.0', {'info_cache': cache}, []))
    assert one.obj_what_changed() == set()
    one.info_cache.network_info = [{'id': 'a'}]
    assert one.obj_what_changed() == {'info_cache'}
    one.obj_reset_changes()
    assert one.obj_what_changed() == {'info_cache'}
    one.obj_reset_changes(recursive=True)
    assert one.obj_what_changed() == one.info_cache.obj_what_changed() == set()


def test_a_flattened_instance_has_its_name():
    one = instance.Instance(id=31, uuid='u')
    assert plain.flatten([one]) == [{'id': 31, 'uuid': 'u', 'name': 'instance-0000001f'}]
    assert plain.flatten(one, instance_name_template='vm-%(uuid)s')['name'] == 'vm-u'
    assert plain.flatten(instance.Instance(uuid='u')) == {'uuid': 'u'}


def test_reading_and_writing_share_nothing_with_what_they_were_given():
    sent = written('Instance', '2.0', {'metadata': {'a': 'b'}}, [])
    one = base.from_primitive(sent)
    one.metadata['c'] = 'd'
    made = base.to_primitive(one)
    made['nova_object.data']['metadata']['e'] = 'f'
    assert sent['nova_object.data'] == {'metadata': {'a': 'b'}}
    assert one.metadata == {'a': 'b', 'c': 'd'}


# -- rubbish --


def read(value):
    """Read a value in all ways; whatever it is, it is an object or one family of errors."""
    for way in (
        base.from_primitive,
        proxy.from_envelope,
        functools.partial(base.transform, envelope=proxy.from_envelope),
    ):
        try:
            base.to_primitive(way(value))
        except exception.VersionedObjectsException:
            continue


@SOME
@hypothesis.given(builders.JSON)
def test_no_json_does_harm(value):
    read(value)


@SOME
@hypothesis.given(st.sampled_from(sorted(SPEC)).flatmap(envelopes), st.data())
def test_no_envelope_with_rubbish_in_it_does_harm(sent, data):
    rubbish = builders.JSON | st.sampled_from([float('nan'), float('inf'), 10**400, '9' * 5000])
    name = sent['nova_object.name']
    broken = data.draw(
        st.sampled_from([key for key in sent if key != 'nova_object.data'] + sorted(facts_of(name)))
    )
    value = data.draw(rubbish)
    extra = {key: data.draw(rubbish) for key in ('cell_proxy.class_name', 'cell_proxy.cell_path')}
    if broken in sent:
        read({**sent, **extra, broken: value})
    read({**sent, **extra, 'nova_object.data': {**sent['nova_object.data'], broken: value}})
    read({**sent, 'nova_object.data': value})


def nested(depth, value=None):
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize('depth', [2000, 50000])
def test_what_is_nested_too_deeply_is_refused(depth):
    deep = nested(depth)
    for field in ('metadata', 'host', 'id', 'flavor', 'launched_at', 'system_metadata', 'unknown'):
        read(written('Instance', '2.0', {field: deep}, []))
        read([written('Instance', '2.0', {field: {'a': deep}}, deep)])
    for way in (base.to_primitive, lambda value: base.transform(value, base.from_primitive)):
        with pytest.raises(exception.VersionedObjectsException, match='nested too deeply'):
            way({'a': deep})
    read(deep)
    read(nested(depth, written('Instance', '2.0', {}, [])))


def test_addresses_are_those_of_the_standard_library():
    for text in ('192.0.2.1', '2001:DB8::1'):
        one = base.from_primitive(written('NetworkRequest', '1.1', {'address': text}, []))
        assert one.address == str(ipaddress.ip_address(text))
