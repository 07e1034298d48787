"""A cell of ours in the place of each that was recorded: what it sends and answers.

The recordings are in ``tests/golden``; where ours may differ from nova's is in its ``README.md``.
Further, an operation that nobody knows is refused by a name of its own (V2), where nova shows what
its language says, and what is sent without a user asking has a context of five keys.
"""

import datetime
import json
import pathlib
import shutil
import uuid

import pytest

from cells import context, operations, paths, wire
from cells.objects import base as objects_base
from cells.operations import OPERATIONS, Kind
from tests import deploy, fake_cells, plain_cell
from tests.conftest import open_directory

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
#: Cell -> its neighbours, and whether they are its parent.
PLACES = {'api': {'child': False}, 'child': {'api': True, 'grandchild': False}}
#: As in the recorder.
OPTIONS = {
    'object_release': 'rocky',
    'call_timeout': 10,
    'capabilities': ['hypervisor=xenserver;kvm', 'os=linux;windows'],
}


class Place:
    """A cell of ours between plain ones, which answer every question with nothing."""

    def __init__(self, workdir, name, extensions):
        self.name = name
        self._sent = []
        self.plain = {one: plain_cell.PlainCell(workdir, one, answers=True) for one in PLACES[name]}
        self.cell = fake_cells.build(
            workdir, name, PLACES[name], envelope_extensions=extensions, **OPTIONS
        )
        self._send = self.cell.driver.send
        self.cell.driver.send = self._note

    def _note(self, neighbour, outgoing):
        seen = {
            'to': neighbour.name,
            'topic': 'cells.intercell.' + outgoing.kind.value,
            'fanout': outgoing.fanout,
            'json': json.loads(outgoing.text),
        }
        self._sent.append(seen)
        self._send(neighbour, outgoing)

    def start(self):
        for one in self.plain.values():
            one.start()
        self.cell.start()
        for one in self.plain.values():
            # Enough for a parent and a child to be known as what they are.
            kwargs = {'cell_name': one.name, 'capacities': {}}
            if one.name == 'api' or self.name == 'api':
                up = self.name == 'api'
                operation = 'update_capacities' if up else 'announce_capacities'
                one.tell(self.name, operation, 'up' if up else 'down', **(kwargs if up else {}))
                deploy.wait_until(
                    lambda one=one: self.cell.state.sighting(one.name).protocol == 0,
                    10,
                    '%s is plain' % one.name,
                )

    def stop(self):
        self.cell.stop()
        for one in self.plain.values():
            one.stop()

    def sent(self, fits, seconds=10):
        """Wait for something that is sent."""

        def found():
            return next((one for one in list(self._sent) if fits(one['json'])), None)

        return deploy.wait_until(found, seconds, 'it is sent')


@pytest.fixture(scope='module', params=[True, False], ids=['extensions', 'plain'])
def places(request):
    """Both places, with and without what ours add to envelopes."""
    workdir = open_directory()
    found = {}
    for name in PLACES:
        (workdir / name).mkdir()
        found[name] = Place(workdir / name, name, request.param)
    for one in found.values():
        one.start()
    yield found
    for one in found.values():
        one.stop()
    shutil.rmtree(workdir, ignore_errors=True)


def entries(cell):
    return json.loads((GOLDEN / ('intercell-rocky-%s.json' % cell)).read_text(encoding='utf-8'))


def sendings():
    """Return all that was sent for an operation, with the cell that did."""
    return [
        pytest.param(cell, sent, id='%s-%02d-%s' % (cell, number, entry['method']))
        for cell in PLACES
        for number, entry in enumerate(entries(cell))
        if 'method' in entry
        for sent in entry['sent']
    ]


def comparable(sent):
    """Return what was sent without what is made anew each time, and without what ours add.

    As for clients, nova's recorder counted metadata that came over the wire as changed.
    """
    envelope = dict(sent['json'])
    envelope.pop(wire.EXTENSION_KEY, None)
    for key in ('uuid', 'response_uuid'):
        if key in envelope:
            envelope[key] = wire.bare_uuid(envelope[key]) if key == 'response_uuid' else None
    return {**sent, 'json': _sets(envelope)}


def _sets(value):
    if isinstance(value, list):
        return [_sets(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _sets(item) for key, item in value.items()}
    if 'nova_object.name' in found:
        changes = set(found.get('nova_object.changes', ()))
        if found['nova_object.name'] == 'Instance':
            changes -= {'metadata', 'system_metadata'}
        found['nova_object.changes'] = changes
    return found


# -- operations --


def begin(cell, envelope, request_id):
    """Have a cell send what was recorded, as its endpoints do."""
    name, row = envelope['method_name'], OPERATIONS[envelope['method_name']]
    ctxt = context.RequestContext.from_wire({**envelope['ctxt'], 'request_id': request_id})
    kwargs = objects_base.transform(envelope['method_kwargs'], objects_base.from_primitive)
    target = envelope.get('target_cell')
    target = target and paths.CellPath.parse(target)
    if row.notice:
        cell.runner.tell(name, target.last, kwargs)
    elif not envelope['need_response']:
        if name == 'build_instances':
            target = paths.CellPath((cell.name,))  # it is this cell that finds a child
        cell.runner.change(ctxt, name, kwargs, target)
    elif target is None:
        cell.runner.broadcast(ctxt, name, kwargs)
    else:
        response = cell.runner.call(ctxt, name, target, kwargs)
        assert response.failure is None, response


@pytest.mark.parametrize(('name', 'recorded'), sendings())
def test_v3_every_operation_leaves_as_nova_sends_it(places, name, recorded):
    place, request_id = places[name], 'req-%s' % uuid.uuid4()
    envelope = recorded['json']
    operation, of_user = envelope['method_name'], not OPERATIONS[envelope['method_name']].notice
    begin(place.cell, envelope, request_id)
    sent = place.sent(
        lambda one: (
            one['method_name'] == operation
            and (not of_user or one['ctxt']['request_id'] == request_id)
            and (of_user or one['method_kwargs'] == envelope['method_kwargs'])
        )
    )
    expected, found = comparable(recorded), comparable(sent)
    expected['json']['ctxt'] = {**expected['json']['ctxt'], 'request_id': request_id}
    if not of_user:
        five = {'is_admin', 'project_id', 'request_id', 'timestamp', 'user_id'}
        assert five == found['json']['ctxt'].keys()
        expected['json']['ctxt'] = found['json']['ctxt']
    assert found == expected


def test_every_operation_of_the_contract_was_recorded():
    contract = {row.name for row in OPERATIONS.values() if not row.extension}
    told = {one.values[1]['json']['method_name'] for one in sendings()}
    assert told == contract


# -- what arrives --

RECEIVED = [
    pytest.param(entry, id=entry['title'].replace(' ', '-'))
    for entry in entries('child')
    if 'received' in entry
]


def arrive(place, entry):
    """Give a cell what was received, as if it had been sent now, and return its uuid."""
    number = str(uuid.uuid4())
    envelope = json.loads(json.dumps(entry['received']).replace(entry['received']['uuid'], number))
    envelope['ctxt']['timestamp'] = datetime.datetime.now(datetime.UTC).isoformat()[:26]
    kind = Kind(envelope['message_type'])
    place.plain[envelope['routing_path']].put('child', kind, envelope)
    return number, envelope


@pytest.mark.parametrize('entry', RECEIVED)
def test_v3_what_arrives_is_answered_or_sent_on_as_nova_does(places, entry):
    number, received = arrive(places['child'], entry)
    [recorded] = entry['sent']
    if entry['title'] == 'broadcast down, child silent':
        check_broadcast(places['child'], number)
    sent = places['child'].sent(
        lambda one: (
            wire.bare_uuid(one.get('response_uuid', one['uuid'])) == number
            and one['method_name'] == recorded['json']['method_name']
        )
    )
    expected, found = comparable(recorded), comparable(sent)
    expected['json']['ctxt'] = received['ctxt']
    if 'response_uuid' in expected['json']:
        expected['json']['response_uuid'] = number
    if recorded['json']['message_type'] == 'response' and 'forwarded' not in entry['title']:
        check_answer(
            expected['json'].pop('method_kwargs'),
            found['json'].pop('method_kwargs'),
            unknown='unknown' in entry['title'] and received['method_name'] == 'nosuch',
        )
    assert found == expected


def check_answer(expected, found, unknown):
    """Compare answers: ours have no copy of the question and no traceback."""
    assert found['orig_message'] == '{}'
    [theirs], [ours] = (
        [json.loads(text) for text in one['responses']] for one in (expected, found)
    )
    assert ours.keys() == theirs.keys()
    assert (ours['cell_name'], ours['failure']) == (theirs['cell_name'], theirs['failure'])
    if not theirs['failure']:
        assert ours['value'] == theirs['value']
        return
    theirs, ours = json.loads(theirs['value']), json.loads(ours['value'])
    assert ours.keys() == theirs.keys()
    assert ours['tb'] == []
    if unknown:
        assert ours['class'] == 'CellServiceAPIMethodNotFound'
        assert ours['kwargs'] == {'detail': 'nosuch', 'code': 404}
        return
    assert {**ours, 'tb': None} == {**theirs, 'tb': None}


def check_broadcast(place, number):
    """See that a cell in the middle answers, which nova's does not (T2)."""
    answer = place.sent(lambda one: one.get('response_uuid') == number)
    [theirs, ours] = [json.loads(one) for one in answer['json']['method_kwargs']['responses']]
    assert (theirs['cell_name'], ours['cell_name']) == ('api!child!grandchild', 'api!child')
    assert ours['failure'] is False
    assert answer['json']['target_cell'] == 'child!api'
    assert answer['fanout'] is True


def test_an_operation_that_is_only_ours_is_unknown_without_extensions(places):
    place = places['child']
    message = {
        **entries('child')[-1]['received'],
        'message_type': 'targeted',
        'method_name': operations.PING,
        'method_kwargs': {},
        'direction': 'down',
        'need_response': True,
        'uuid': str(uuid.uuid4()),
        'routing_path': 'api',
        'target_cell': 'api!child',
    }
    message['ctxt'] = {**message['ctxt'], 'timestamp': 'some day'}
    place.plain['api'].put('child', Kind.TARGETED, message)
    answer = place.sent(lambda one: one.get('response_uuid') == message['uuid'])
    [found] = wire.decode_responses(wire.decode(json.dumps(answer['json'])))
    if place.cell.state.sightings.extensions:
        assert found.value['name'] == 'child'
    else:
        assert found.failure.name == 'CellServiceAPIMethodNotFound'
