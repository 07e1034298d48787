"""The old cell that others are tested with: it does as was recorded, and loses what it must."""

import json
import pathlib

import pytest

from cells import versions
from cells.objects import base as objects_base
from tests.old_cell import cell as old_cell
from tests.old_cell import records, values

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
RELEASES = list(versions.RELEASE_CAPS)[list(versions.RELEASE_CAPS).index('liberty') :]


class Wire:
    """Stands where the bus is, and keeps what is sent."""

    def __init__(self, url, receive, processes):
        self.sent = []

    def send(self, url, kind, text, fanout):
        sent = {'to': url, 'topic': 'cells.intercell.%s' % kind, 'fanout': fanout}
        self.sent.append({**sent, 'json': json.loads(text)})


class Place:
    """An old cell where the recorder's child was."""

    def __init__(self, release='rocky'):
        known = {'child': records.Records([])}
        settings = {
            'name': 'child',
            'url': 'none',
            'release': release,
            'parents': {'api': 'api'},
            'children': {'grandchild': 'grandchild'},
            'call_timeout': 0.1,
        }
        self.cell = old_cell.Cell(settings, records.local(known), self._bus)

    def _bus(self, *args):
        self.wire = Wire(*args)
        return self.wire

    def take(self, envelope):
        """Give it an envelope; return what it sends."""
        self.wire.sent.clear()
        self.cell.receive(0, json.dumps(envelope))
        return self.wire.sent


@pytest.fixture
def place():
    return Place()


def entries():
    return json.loads((GOLDEN / 'intercell-rocky-child.json').read_text(encoding='utf-8'))


RECEIVED = [
    pytest.param(entry, id=entry['title'].replace(' ', '-'))
    for entry in entries()
    if 'received' in entry
]


def comparable(sent):
    """Return what is compared: not ids made anew, not tracebacks, changes in order."""
    envelope = json.loads(json.dumps(sent['json']))
    if envelope['message_type'] == 'response':
        envelope['uuid'] = None
    kwargs = envelope['method_kwargs']
    if 'orig_message' in kwargs:
        kwargs['orig_message'] = json.loads(kwargs['orig_message'])
        kwargs['responses'] = [json.loads(one) for one in kwargs['responses']]
        for one in kwargs['responses']:
            if one.get('failure'):
                one['value'] = {**json.loads(one['value']), 'tb': None}
    return {**sent, 'json': envelope}


@pytest.mark.parametrize('entry', RECEIVED)
def test_v3_it_answers_and_sends_on_as_was_recorded(place, entry):
    found = place.take(entry['received'])
    assert [comparable(one) for one in found] == [comparable(one) for one in entry['sent']]
    silent = 'raises' in entry
    assert (
        bool([one for one in place.cell.lost if 'CellTimeout' in one or 'Timeout' in one]) == silent
    )


def envelope(**kwargs):
    """Return something that goes through it, with arguments."""
    [entry] = [one for one in entries() if one.get('title') == 'targeted forwarded']
    return {**entry['received'], 'method_kwargs': kwargs}


def test_what_it_does_not_know_of_an_envelope_and_of_a_context_is_lost_on_the_way(place):
    given = envelope(compute_id='1', more={'later': 1})
    [plain] = place.take(given)
    ours = {**given, 'cells.x': {'v': 1}, 'ctxt': {**given['ctxt'], 'later': 1}}
    assert place.take(ours) == [plain]
    assert plain['json']['method_kwargs'] == {'compute_id': '1', 'more': {'later': 1}}


def written(name, version, **data):
    return {
        'nova_object.name': name,
        'nova_object.namespace': 'nova',
        'nova_object.version': version,
        'nova_object.data': data,
        'nova_object.changes': sorted(data),
    }


def test_a_field_that_it_does_not_know_is_lost_and_the_rest_goes_on(place):
    given = written('Flavor', '1.1', flavorid='1', later='x')
    [sent] = place.take(envelope(flavor=given))
    assert sent['json']['method_kwargs']['flavor'] == written('Flavor', '1.1', flavorid='1')


@pytest.mark.parametrize(
    'given',
    [
        written('Flavor', '1.3', flavorid='1'),
        written('Flavor', '2.0', flavorid='1'),
        written('Later', '1.0', a=1),
        written('Instance', '2.0', uuid=None),
        written('Instance', '2.0', launched_at='one day'),
        written('Instance', '2.0', flavor='small'),
        {**written('Flavor', '1.1'), 'nova_object.namespace': 'other'},
    ],
    ids=['minor', 'major', 'class', 'null', 'time', 'object', 'namespace'],
)
def test_what_it_cannot_decode_loses_the_whole_message(place, given):
    assert place.take(envelope(deep=[{'in': given}])) == []
    assert len(place.cell.lost) == 1


def test_it_knows_no_operation_of_ours_and_says_so_as_nova_does(place):
    asked = {**envelope(), 'method_name': 'x_ping', 'target_cell': 'api!child'}
    [sent] = place.take(asked)
    [text] = sent['json']['method_kwargs']['responses']
    with pytest.raises(old_cell.Failed, match="has no attribute 'x_ping'") as caught:
        old_cell.value_or_raise(json.loads(text))
    assert caught.value.name == 'AttributeError'
    one_way = {**asked, 'need_response': False}
    assert place.take(one_way) == []
    [passed_on] = place.take({**one_way, 'target_cell': 'api!child!grandchild'})
    assert passed_on['json']['method_name'] == 'x_ping'


# -- with it: what ours emits is read by all releases --


def objects_in(value):
    if isinstance(value, dict):
        if 'nova_object.name' in value:
            yield value
        for one in value.values():
            yield from objects_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from objects_in(one)


OBJECTS = {
    (one['nova_object.name'], one['nova_object.version']): one
    for path in sorted(GOLDEN.glob('*.json'))
    for one in objects_in(json.loads(path.read_text(encoding='utf-8')))
}


@pytest.mark.parametrize('release', RELEASES)
@pytest.mark.parametrize('which', OBJECTS, ids=' '.join)
def test_v1_an_object_at_the_release_of_a_tree_is_read_by_that_one_and_all_later(release, which):
    name = which[0]
    emitted = json.loads(json.dumps(objects_base.to_primitive(made_here(OBJECTS[which]), release)))
    for reader in RELEASES[RELEASES.index(release) :]:
        read = values.Objects(reader).decode(emitted)
        assert read['nova_object.name'] == name
        assert read['nova_object.data'] == emitted['nova_object.data'], reader


def made_here(primitive):
    """Return an object as if it had been made by our classes."""
    given = objects_base.from_primitive(primitive)
    return type(given)(**dict(given.items()))
