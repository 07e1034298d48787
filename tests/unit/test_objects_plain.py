"""Objects from their plain form, as clients of versions before objects give them."""

import datetime
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from cells.objects import base, flavor, instance, pci, plain
from tests.unit.test_objects_wire import FEW, SPEC, envelopes

UUID = '11111111-1111-4111-8111-111111111111'
MOMENT = datetime.datetime(2016, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC)


def whole():
    return instance.Instance(
        uuid=UUID,
        id=7,
        created_at=MOMENT,
        deleted=False,
        access_ip_v4='10.0.0.1',
        metadata={'a': 'b'},
        system_metadata={'c': None},
        flavor=flavor.Flavor(flavorid='1', extra_specs={'x': 'y'}, rxtx_factor=1.5),
        info_cache=instance.InstanceInfoCache(instance_uuid=UUID, network_info=[{'id': 'v'}]),
        pci_devices=pci.PciDeviceList(objects=[pci.PciDevice(address='0:1', status='available')]),
        old_flavor=None,
    )


@pytest.mark.parametrize('moment', [plain.moment_text, str, lambda moment: moment])
def test_what_was_made_plain_comes_back_as_it_was(moment):
    made = plain.build('Instance', plain.flatten(whole(), moment))
    assert base.to_primitive(made) == base.to_primitive(whole())


def test_a_row_with_its_tables_becomes_an_object():
    row = {
        'uuid': UUID,
        'deleted': 0,
        'cleaned': 1,
        'metadata': [{'key': 'a', 'value': 'b', 'id': 4}, {'key': 'x', 'value': 'y', 'deleted': 9}],
        'system_metadata': [{'key': 'c', 'value': None}],
        'security_groups': [{'name': 'default', 'id': 1}],
        'name': 'instance-00000001',
        'unheard_of': 5,
    }
    made = plain.build('Instance', row)
    assert made.metadata == {'a': 'b'}
    assert made.system_metadata == {'c': None}
    assert made.cleaned is True
    assert [one.name for one in made.security_groups] == ['default']
    assert made.obj_what_changed() >= {'uuid', 'metadata'}
    assert 'unheard_of' not in made


@pytest.mark.parametrize(
    'values',
    [
        {'memory_mb': 'much'},
        {'launched_at': 'soon'},
        {'metadata': ['a']},
        {'metadata': [{'key': 'a'}]},
        {'flavor': 5},
        {'flavor': {'memory_mb': []}},
        {'security_groups': 'default'},
        {'info_cache': {'network_info': 'no json'}},
        {'uuid': None},
    ],
)
def test_what_does_not_fit_is_refused(values):
    with pytest.raises((TypeError, ValueError)):
        plain.build('Instance', {'uuid': UUID, **values})


# No message carries a RequestSpec, and not all that is in one has a class here.
@pytest.mark.parametrize('name', sorted(SPEC.keys() - {'RequestSpec'}))
@FEW
@hypothesis.given(data=st.data())
def test_every_object_comes_back_from_its_plain_form(name, data):
    sent = base.from_primitive(data.draw(envelopes(name)))
    row = json.loads(json.dumps(plain.flatten(sent)))
    made = plain.build(name, {'objects': row} if isinstance(row, list) else row)
    assert json.loads(json.dumps(plain.flatten(made))) == row


def test_a_dictionary_may_be_the_text_of_one():
    row = {'pci_devices': [{'address': '0:1', 'extra_info': '{"capabilities": "x"}'}]}
    made = plain.build('Instance', row)
    assert made.pci_devices[0].extra_info == {'capabilities': 'x'}
    for bad in ('no json', '[1]'):
        with pytest.raises(ValueError, match='json|dict|Expecting'):
            plain.build('PciDevice', {'extra_info': bad})


def test_an_object_of_a_class_that_is_not_ours_is_refused_by_name():
    with pytest.raises(ValueError, match='ImageMeta is no class of ours'):
        plain.build('RequestSpec', {'image': {'id': 'i'}})


def test_objects_that_are_to_stay_objects_do():
    made = plain.flatten({'it': whole()}, kept=('InstanceInfoCache',))
    assert isinstance(made['it'], dict)
    assert made['it']['flavor']['flavorid'] == '1'
    assert made['it']['info_cache'].network_info == [{'id': 'v'}]
