"""Which instances a message is about, in each form that it may come in."""

import pytest

from cells import subjects
from tests.unit import builders

ONE = '11111111-1111-4111-8111-111111111111'
TWO = '22222222-2222-4222-8222-222222222222'


def envelope(uuid):
    return {'nova_object.name': 'Instance', 'nova_object.data': {'uuid': uuid}}


def listed(*uuids):
    objects = [envelope(uuid) for uuid in uuids]
    return {'nova_object.name': 'InstanceList', 'nova_object.data': {'objects': objects}}


@pytest.mark.parametrize(
    ('instances', 'expected'),
    [
        ([envelope(ONE), envelope(TWO)], [ONE, TWO]),
        ([{'uuid': ONE}], [ONE]),
        (listed(ONE, TWO), [ONE, TWO]),
        (listed(), []),
        ({'nova_object.data': None}, []),
        ({'nova_object.data': {'objects': 'rubbish'}}, []),
        (None, []),
    ],
)
def test_t5_the_instances_of_a_build_are_found_in_each_form(instances, expected):
    """A nova-cells makes an object of the list of an old client: who fails it reports it too."""
    message = builders.targeted(
        'api',
        'api!a',
        method_name='build_instances',
        method_kwargs={'build_inst_kwargs': {'instances': instances}},
    )
    assert subjects.instances_of(message) == expected
