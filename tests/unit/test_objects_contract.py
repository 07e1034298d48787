"""Every class against the facts in ``tests/contract/objects.json``."""

import hashlib
import json
import pathlib

import pytest
from oslo_versionedobjects import base as oslo_base

from cells import versions
from cells.objects import base, fields

SPEC = json.loads(
    (pathlib.Path(__file__).parents[1] / 'contract' / 'objects.json').read_text(encoding='utf-8')
)['objects']
CLASSES = base.registered()

#: What the facts call a type -> what the field's class is called here.
TYPE_NAMES = {
    'dict of Integer': 'DictOfIntegers',
    'dict of List': 'DictOfListOfStrings',
    'dict of String': 'DictOfStrings',
    'dict of String (nullable values)': 'DictOfNullableStrings',
    'list of Dict': 'ListOfDictOfNullableStrings',
    'list of String': 'ListOfStrings',
    'list of objects': 'ListOfObjects',
    'object': 'Object',
    'set of Integer': 'SetOfIntegers',
}

#: name -> newest version, and what its fields come to.
FINGERPRINTS = {
    'BlockDeviceMapping': ('1.20', '6b1f1fa7be3b9091'),
    'BlockDeviceMappingList': ('1.17', '9bbf7b1cbfefa27c'),
    'ComputeNode': ('1.18', '1dc9c282023a9df0'),
    'ComputeNodeList': ('1.17', '5b72d852617fcdc1'),
    'DeviceBus': ('1.0', 'd2be1e26d877950a'),
    'DeviceMetadata': ('1.0', 'a9e99b328e648eec'),
    'EC2Ids': ('1.0', '004de88f58b04a63'),
    'Flavor': ('1.2', '43726980c1411a47'),
    'HVSpec': ('1.2', '4cec5193fd042a7e'),
    'Instance': ('2.4', '33a60f659c098caf'),
    'InstanceAction': ('1.1', 'ad3a332451836b8a'),
    'InstanceActionEvent': ('1.2', 'b61955a29fd0ef4f'),
    'InstanceActionEventList': ('1.1', '950b420c4e66b79d'),
    'InstanceActionList': ('1.1', 'cff2c0dfd81bd1ae'),
    'InstanceDeviceMetadata': ('1.0', '6ac74fafc895575f'),
    'InstanceFault': ('1.2', '2a4de9e47c1f72eb'),
    'InstanceInfoCache': ('1.5', 'c71a40cdeb3f0bd9'),
    'InstanceList': ('2.4', '8adec37236343ec9'),
    'InstanceNUMACell': ('1.4', 'f75007c1b3f9bd91'),
    'InstanceNUMATopology': ('1.3', '00c3b4e2d46586b1'),
    'InstancePCIRequest': ('1.3', 'e8056e4f5b740a3f'),
    'InstancePCIRequests': ('1.1', 'fe020d5023186599'),
    'KeyPair': ('1.4', '6f5efd81e274d0f2'),
    'KeyPairList': ('1.3', '12af80b13c8d2ab5'),
    'Migration': ('1.5', 'ec1a0910f7e6a4d8'),
    'MigrationContext': ('1.1', '8038809d0bfd971c'),
    'MigrationList': ('1.4', '673e112c6b3d09f7'),
    'NetworkRequest': ('1.2', 'e7ff5ac0cae634fd'),
    'NetworkRequestList': ('1.1', '6552e7742559fd2c'),
    'PciDevice': ('1.6', 'f973daedf20eeb17'),
    'PciDeviceList': ('1.3', '99202dab1d31f842'),
    'PciDevicePool': ('1.1', 'c5d122f10e87a431'),
    'PciDevicePoolList': ('1.1', '209073bd7ea3125a'),
    'RequestSpec': ('1.12', '9d90c0aceef3d23a'),
    'SecurityGroup': ('1.2', '7892104db99096d0'),
    'SecurityGroupList': ('1.1', '499ba42e5fe99f01'),
    'Service': ('1.22', '697b3f568193cd2e'),
    'ServiceList': ('1.19', '2767d2a686e267a9'),
    'Tag': ('1.1', '9e0da9c786ad9dda'),
    'TagList': ('1.1', 'c9158f9beaef31b6'),
    'TrustedCerts': ('1.0', '17f5c55af89caa6a'),
    'VirtCPUFeature': ('1.0', '531ad59f7a61744c'),
    'VirtCPUModel': ('1.0', '7404915c02a4d1aa'),
    'VirtCPUTopology': ('1.0', 'fb729b2ebd4b0762'),
}


def facts_of(name):
    """Return the fields of a class as the facts have them, mitaka's and rocky's together."""
    return {**(SPEC[name].get('fields_mitaka') or {}), **(SPEC[name].get('fields_rocky') or {})}


def described(field):
    """Return a field of ours in the form of the facts."""
    kind = type(field).__name__.removesuffix('Field')
    found = {
        'type': kind,
        'nullable': field.nullable,
        'since': fields.since_of(field),
    }
    if kind in ('Object', 'ListOfObjects'):
        found['object'] = field.reference.objname
    if hasattr(field, 'valid_values'):
        found['valid_values'] = list(field.valid_values)
    if not isinstance(field.default, type):
        found['default'] = field.default
    if field.read_only:
        found['read_only'] = True
    return found


def fingerprint(cls):
    lines = [
        '%s %s' % (name, json.dumps(described(field), sort_keys=True))
        for name, field in sorted(cls.fields.items())
    ]
    text = '\n'.join([cls.obj_name(), cls.VERSION, *lines])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_there_is_a_class_for_every_object_and_no_other():
    assert len(CLASSES) == 44
    assert CLASSES.keys() == SPEC.keys()


@pytest.mark.parametrize('name', SPEC)
def test_fields_are_those_of_mitaka_and_rocky(name):
    wanted = {
        key: {**fact, 'type': TYPE_NAMES.get(fact['type'], fact['type'])}
        for key, fact in facts_of(name).items()
    }
    assert {key: described(field) for key, field in CLASSES[name].fields.items()} == wanted


@pytest.mark.parametrize('name', SPEC)
def test_what_both_releases_have_is_the_same_in_both(name):
    mitaka, rocky = (SPEC[name].get('fields_' + word) or {} for word in ('mitaka', 'rocky'))
    differing = {key for key in mitaka.keys() & rocky.keys() if mitaka[key] != rocky[key]}
    assert differing == ({'hv_type'} if name == 'HVSpec' else set())


@pytest.mark.parametrize('name', SPEC)
def test_versions_by_release_are_those_of_the_facts(name):
    ours = {
        release: table[name] for release, table in versions.OBJECT_VERSIONS.items() if name in table
    }
    assert ours == {key: value.split()[-1] for key, value in SPEC[name]['versions'].items()}
    assert SPEC[name]['versions']['stein'].split()[-1] == CLASSES[name].VERSION


def test_the_table_of_versions_knows_the_releases_that_have_objects():
    assert list(versions.OBJECT_VERSIONS) == list(versions.RELEASE_CAPS)[1:]


@pytest.mark.parametrize('name', SPEC)
def test_no_field_is_younger_than_the_newest_version(name):
    cls = CLASSES[name]
    ages = [tuple(map(int, fields.since_of(one).split('.'))) for one in cls.fields.values()]
    assert all(age <= tuple(map(int, cls.VERSION.split('.'))) for age in ages)


@pytest.mark.parametrize('name', SPEC)
def test_lists_are_lists(name):
    cls = CLASSES[name]
    assert issubclass(cls, base.CellsObjectList) == name.endswith('List')
    assert not name.endswith('List') or cls.fields.keys() == {'objects'}


@pytest.mark.parametrize(('name', 'cls'), CLASSES.items())
def test_fields_do_not_change_without_a_new_version(name, cls):
    found = (cls.VERSION, fingerprint(cls))
    assert found == FINGERPRINTS.get(name), (
        'The fields of %s have changed, or it is new. Neighbours of other releases tell objects '
        'apart by their version: raise it in versions.py, mark the field with since(), see that '
        'an older minor version can still be read, and put %r into FINGERPRINTS.' % (name, found)
    )


def test_every_fingerprint_is_of_a_class_that_is_there():
    assert FINGERPRINTS.keys() == CLASSES.keys()


@pytest.mark.parametrize('cls', CLASSES.values())
def test_names_on_the_wire_are_those_of_nova(cls):
    assert base.to_primitive(cls()) == {
        'nova_object.name': cls.__name__,
        'nova_object.namespace': 'nova',
        'nova_object.version': cls.VERSION,
        'nova_object.data': {},
    }


def test_nothing_of_ours_is_in_the_registry_of_the_library():
    found = oslo_base.VersionedObjectRegistry.obj_classes()
    ours = [
        cls.__name__
        for classes in found.values()
        for cls in classes
        if cls.__module__.partition('.')[0] == 'cells'
    ]
    assert ours == []
    assert not found.keys() & CLASSES.keys()
