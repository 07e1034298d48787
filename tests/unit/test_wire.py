import copy
import dataclasses
import datetime
import json
import pathlib
import types
import uuid

import hypothesis
import pytest
from hypothesis import strategies as st

from cells import exceptions, json_text, messages, operations, paths, remote_errors, wire
from cells.messages import Extension, Failure, Response
from cells.objects import base as objects_base
from cells.objects import service
from cells.operations import Direction, Kind
from tests.unit import builders

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'

EXTENSIONS = st.builds(
    Extension,
    st.integers(1, 9),
    st.floats(0, 1e10),
    st.none() | st.integers(0, 10**7),
    st.none() | builders.TEXT,
)


def envelopes():
    """Return a plain envelope of each kind, by kind."""
    made = (
        builders.targeted('api', 'api!mid!leaf', need_response=True),
        builders.broadcast('api!mid', max_hop_count=10),
        builders.response('leaf', 'leaf!mid!api', method_kwargs={'responses': []}),
    )
    return {wire.kind_of(message): json.loads(wire.encode(message)) for message in made}


KNOWN_KEYS = {wire.EXTENSION_KEY}.union(*(envelope for envelope in envelopes().values()))

WORDS = builders.TEXT.filter(lambda text: text and text.isprintable())

COMMON = {
    'ctxt': builders.JSON_OBJECTS,
    'method_name': WORDS,
    'method_kwargs': builders.JSON_OBJECTS,
    'direction': st.sampled_from(Direction),
    'need_response': st.booleans(),
    'fanout': st.booleans(),
    'uuid': st.uuids().map(str),
    'max_hop_count': st.none() | st.integers(0, 1000),
    'extension': st.none() | EXTENSIONS,
    'unknown': st.dictionaries(
        builders.TEXT.filter(lambda key: key not in KNOWN_KEYS), builders.JSON, max_size=2
    ),
}


@st.composite
def any_message(draw):
    values = {key: draw(strategy) for key, strategy in COMMON.items()}
    path = draw(builders.PATHS)
    values.update(routing_path=path, hop_count=len(path))
    kind = draw(st.sampled_from(Kind))
    if kind is Kind.BROADCAST:
        return messages.BroadcastMessage(**values)
    values['target_cell'] = draw(builders.PATHS)
    if kind is Kind.TARGETED:
        return messages.TargetedMessage(**values)
    return messages.ResponseMessage(**values, response_uuid=draw(WORDS))


# -- messages --


@hypothesis.given(any_message())
def test_t10_what_is_decoded_is_what_was_encoded(message):
    assert wire.decode(wire.encode(message)) == message


@hypothesis.given(any_message())
def test_r9_encoding_changes_nothing_and_gives_the_same_every_time(message):
    before = copy.deepcopy(message)
    first = wire.encode(message)
    assert message == before
    assert wire.encode(message) == first


def test_r9_objects_in_the_arguments_stay_objects_of_the_sender():
    one = service.Service(id=1, host='käse', last_seen_up=None)
    arguments = {'service': one, 'nested': [{'again': (one,)}], 'names': {'b', 'a'}}
    message = builders.broadcast('api', method_kwargs=arguments)
    sent = [wire.encode(messages.with_extension(message, None)) for _ in range(3)]
    assert message.method_kwargs is arguments
    assert arguments['nested'][0]['again'][0] is arguments['service'] is one
    for text in sent:
        arrived = objects_base.transform(
            wire.decode(text).method_kwargs, objects_base.from_primitive
        )
        assert dict(arrived['service'].items()) == dict(one.items())
        assert isinstance(arrived['nested'][0]['again'][0], service.Service)
        assert arrived['names'] == ['a', 'b']


@pytest.mark.parametrize('kind', Kind)
def test_keys_of_a_later_version_go_on_as_they_came(kind):
    envelope = {**envelopes()[kind], 'later': {'a': [None, 'ü']}, 'v': 7}
    arrived = wire.decode(json.dumps(envelope))
    assert arrived.unknown == {'later': {'a': [None, 'ü']}, 'v': 7}
    sent_on = json.loads(wire.encode(arrived.hopped('next')))
    assert {key: sent_on[key] for key in ('later', 'v')} == arrived.unknown


@pytest.mark.parametrize('kind', Kind)
def test_a_cell_without_extensions_reads_what_a_nova_cells_reads(kind):
    plain = envelopes()[kind]
    ours = {**plain, wire.EXTENSION_KEY: {'v': 1, 't': 5.0, 'b': 100}, 'later': 1}
    arrived = wire.decode(json.dumps(ours), extensions=False)
    assert arrived == wire.decode(json.dumps(plain))
    assert json.loads(wire.encode(arrived)) == plain
    assert wire.decode(json.dumps(ours)).extension == Extension(1, 5.0, 100)


@pytest.mark.parametrize(
    'text',
    [
        'NaN',
        '1' + '0' * 30,
        '1e400',
        '"\\ud800"',
        '[%d,NaN]' % 10**20,
        '[%d,1e400]' % 10**20,
        '[%d,"\\ud800"]' % 10**20,
        '9' * 5000,
        '[' * 90 + ']' * 90,
        '[' * 200 + ']' * 200,
        '[' * 500 + ']' * 500,
        '[' * 5000 + ']' * 5000,
    ],
    ids=lambda text: text[:12],
)
def test_arguments_go_on_as_they_came_or_are_refused(text):
    envelope = {**envelopes()[Kind.BROADCAST], 'method_kwargs': {'x': 'HERE'}}
    sent = json.dumps(envelope).replace('"HERE"', text)
    try:
        arrived = wire.decode(sent)
    except exceptions.InvalidMessage:
        return
    # equal as text: json of the standard library keeps what orjson may not
    assert '"x":' + text in wire.encode(arrived.hopped('next'))


@pytest.mark.parametrize(
    'value', [10**18, -(10**19), 2**63, 2**64, 2**64 + 1, -(2**63) - 1, 10**60]
)
def test_whole_numbers_of_any_length_keep_every_digit(value):
    envelope = {**envelopes()[Kind.BROADCAST], 'method_kwargs': {'x': value, 'y': 1.5}}
    arrived = wire.decode(json.dumps(envelope))
    assert arrived.method_kwargs == {'x': value, 'y': 1.5}
    assert isinstance(arrived.method_kwargs['x'], int)
    assert wire.decode(wire.encode(arrived)) == arrived


def nested(depth):
    """Return the text of a value of so many levels."""
    return '[' * depth + ']' * depth


def test_what_is_nested_too_deeply_is_refused_wherever_it_is():
    envelope = {**envelopes()[Kind.BROADCAST], 'method_kwargs': {'x': 'HERE'}}
    text = json.dumps(envelope)
    # The envelope and the arguments are two levels.
    assert wire.decode(text.replace('"HERE"', nested(json_text.MAX_DEPTH - 2)))
    for depth in (json_text.MAX_DEPTH, 250, 1000, 100_000):
        with pytest.raises(exceptions.InvalidMessage, match='nested|JSON'):
            wire.decode(text.replace('"HERE"', nested(depth)))
        record = '{"cell_name": "leaf", "failure": false, "value": %s}' % nested(depth)
        answer = builders.response('leaf', 'leaf!mid', method_kwargs={'responses': [record]})
        with pytest.raises(exceptions.InvalidMessage, match='nested|JSON'):
            wire.decode_responses(answer)


def test_brackets_in_texts_and_side_by_side_are_no_depth():
    arguments = {'x': '[' * 5000, 'y': [[]] * 5000}
    envelope = {**envelopes()[Kind.BROADCAST], 'method_kwargs': arguments}
    assert wire.decode(json.dumps(envelope)).method_kwargs == arguments


def test_what_is_refused_says_from_whom_it_came():
    envelope = {**envelopes()[Kind.BROADCAST], 'direction': 'left'}
    with pytest.raises(exceptions.InvalidMessage, match="it came by 'api!mid'"):
        wire.decode(json.dumps(envelope))


def test_what_cannot_be_sent_is_an_error_of_the_sender():
    with pytest.raises(TypeError, match='object'):
        wire.encode(builders.broadcast('api', method_kwargs={'x': object()}))


@pytest.mark.parametrize(
    ('key', 'value', 'reason'),
    [
        ('message_type', 'shout', 'message_type'),
        ('direction', 'left', 'direction'),
        ('routing_path', 'api!', 'routing_path'),
        ('routing_path', '', 'routing_path'),
        ('target_cell', 'a@b', 'target_cell'),
        ('hop_count', 7, 'hop_count'),
        ('hop_count', True, 'hop_count'),
        ('method_kwargs', [], 'method_kwargs'),
        ('ctxt', None, 'ctxt'),
        ('uuid', '', 'uuid'),
        ('uuid', 'x' * 121, 'uuid'),
        ('uuid', None, 'uuid'),
        ('uuid', 'a\nb', 'uuid'),
        ('method_name', '', 'method_name'),
        ('method_name', 'x' * 65, 'method_name'),
        ('hop_count', 10**60, 'hop_count'),
        ('routing_path', '!'.join(['api'] * 2000), 'at most 4096'),
        ('max_hop_count', '10', 'max_hop_count'),
        ('need_response', 1, 'need_response'),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(key, value, reason):
    envelope = {**envelopes()[Kind.TARGETED], key: value}
    with pytest.raises(exceptions.InvalidMessage, match=reason):
        wire.decode(json.dumps(envelope))


REQUIRED = {
    Kind.TARGETED: {'target_cell'},
    Kind.BROADCAST: set(),
    Kind.RESPONSE: {'target_cell', 'response_uuid'},
}
ALWAYS_REQUIRED = {
    'message_type',
    'ctxt',
    'method_name',
    'method_kwargs',
    'direction',
    'uuid',
    'routing_path',
}


@pytest.mark.parametrize('kind', Kind)
def test_what_a_sender_must_say_may_not_be_missing_and_the_rest_may(kind):
    for key in envelopes()[kind]:
        envelope = envelopes()[kind]
        del envelope[key]
        if key in ALWAYS_REQUIRED | REQUIRED[kind]:
            with pytest.raises(exceptions.InvalidMessage, match='%s is missing' % key):
                wire.decode(json.dumps(envelope))
        else:
            assert wire.kind_of(wire.decode(json.dumps(envelope))) is kind


@hypothesis.given(st.sampled_from(Kind), st.sampled_from(sorted(KNOWN_KEYS)), builders.JSON)
@hypothesis.settings(max_examples=400)
def test_rubbish_in_place_of_a_value_is_taken_or_refused_and_nothing_worse(kind, key, value):
    envelope = {**envelopes()[kind], key: value}
    try:
        message = wire.decode(json.dumps(envelope))
    except exceptions.InvalidMessage:
        return
    assert wire.decode(wire.encode(message)) == message


@hypothesis.given(st.text() | st.binary() | builders.JSON.map(json.dumps))
@hypothesis.example('')
@hypothesis.example('{}')
@hypothesis.example('\ud800')
@hypothesis.example(b'\xff')
def test_a_text_that_is_no_envelope_is_refused_and_nothing_worse(text):
    with pytest.raises(exceptions.InvalidMessage):
        wire.decode(text)


@pytest.mark.parametrize(
    'value',
    [
        None,
        7,
        [],
        {},
        {'v': 'two', 't': 1.0},
        {'v': 1},
        {'v': 1, 't': 'now'},
        {'v': True, 't': 1.0},
        {'v': 0, 't': 1.0},
        {'v': 10**30, 't': 1.0},
        {'v': 1, 't': 10**60},
        {'v': 1, 't': -1},
        {'v': 1, 't': True},
    ],
)
def test_a_sender_whose_addition_is_not_understood_counts_as_plain(value):
    envelope = {**envelopes()[Kind.BROADCAST], wire.EXTENSION_KEY: value}
    assert wire.decode(json.dumps(envelope)).extension is None


@pytest.mark.parametrize('budget', [10**60, -1, True, '5', [], 1.5])
def test_a_budget_that_is_none_counts_as_not_told(budget):
    envelope = {**envelopes()[Kind.BROADCAST], wire.EXTENSION_KEY: {'v': 1, 't': 1.0, 'b': budget}}
    assert wire.decode(json.dumps(envelope)).extension == Extension(1, 1.0)


@pytest.mark.parametrize('marks', ['t=nan', 't=inf', 't=1e300', 't=1.0;b=-5', 't=1;b=' + '9' * 40])
def test_marks_without_sense_count_as_none(marks):
    message = builders.broadcast('api', uuid=builders.UUID + ';' + marks)
    assert wire.source_extension(message) is None


# -- what real nova-cells sent --


def recorded():
    """Yield (title, envelope) of everything that was recorded."""
    for cell in ('api', 'child'):
        for number, entry in enumerate(
            json.loads((GOLDEN / ('intercell-rocky-%s.json' % cell)).read_text())
        ):
            title = '%s-%d-%s' % (cell, number, entry.get('method') or entry['title'])
            if 'received' in entry:
                yield title + '-received', entry['received']
            for sent in entry['sent']:
                yield title + '-sent', sent['json']


RECORDED = list(recorded())
QUESTIONS = [
    (title, envelope)
    for title, envelope in RECORDED
    if envelope['method_name'] in operations.OPERATIONS
]


def by_title(pairs):
    return pytest.mark.parametrize(
        'envelope', [one for _, one in pairs], ids=[title for title, _ in pairs]
    )


@by_title(RECORDED)
def test_what_nova_sent_is_understood_and_written_the_same(envelope):
    assert json.loads(wire.encode(wire.decode(json.dumps(envelope)))) == envelope


@by_title(QUESTIONS)
def test_what_nova_sent_travels_as_our_table_says(envelope):
    row = operations.OPERATIONS[envelope['method_name']]
    assert Kind(envelope['message_type']) in row.kinds
    assert envelope['direction'] == row.direction.value
    assert envelope['need_response'] == row.replies or (row.changes and row.replies)
    assert envelope['fanout'] is wire.decode(json.dumps(envelope)).fanout
    assert envelope['fanout'] == (row.notice and row.direction is Direction.UP)
    assert not row.extension


def test_every_operation_of_the_contract_was_recorded():
    contract = {row.name for row in operations.OPERATIONS.values() if not row.extension}
    assert {envelope['method_name'] for _, envelope in QUESTIONS} == contract


def recorded_answers():
    entries = json.loads((GOLDEN / 'intercell-rocky-child.json').read_text())
    return {
        entry['title']: wire.decode(json.dumps(sent['json']))
        for entry in entries
        if 'title' in entry
        for sent in entry['sent']
        if sent['json']['message_type'] == 'response'
    }


@pytest.mark.parametrize(
    ('title', 'name', 'text'),
    [
        ('targeted call raises', 'ComputeHostNotFound', 'Compute host nohost could not be found.'),
        (
            'targeted unknown method',
            'AttributeError',
            "'_TargetedMessageMethods' object has no attribute 'nosuch'",
        ),
        (
            'targeted unknown child',
            'CellRoutingInconsistency',
            'Inconsistency in cell routing: Unknown child when routing to api!child!nosuch',
        ),
        (
            'targeted bad path',
            'CellRoutingInconsistency',
            'Inconsistency in cell routing: destination is zzz!child but routing_path is api!child',
        ),
        (
            'targeted hop limit',
            'CellMaxHopCountReached',
            'Cell message has reached maximum hop count: 2',
        ),
    ],
)
def test_x6_an_error_of_nova_is_understood_and_its_traceback_is_dropped(title, name, text):
    (answer,) = wire.decode_responses(recorded_answers()[title])
    assert answer.cell_name == 'api!child'
    assert (answer.failure.name, answer.failure.message) == (name, text)
    assert answer.failure.args == (text,)
    assert 'Traceback' not in repr(answer)
    assert text in str(remote_errors.exception_of(answer.failure))


def test_an_answer_of_nova_is_understood():
    found = wire.decode_responses(recorded_answers()['targeted call ok'])
    assert found == [Response('api!child', [])]


# -- marks behind a uuid --


@hypothesis.given(st.uuids().map(str), EXTENSIONS)
def test_marks_never_make_a_uuid_too_long_and_are_whole_or_absent(plain, extension):
    marked = wire.marked_uuid(plain, extension)
    assert wire.bare_uuid(marked) == wire.bare_uuid(plain) == plain
    assert len(marked) <= wire.MAX_UUID_LENGTH
    whole = {
        'w': extension.reply_server,
        'b': None if extension.budget_ms is None else str(extension.budget_ms),
        't': '%.3f' % extension.sent_at,
    }
    assert wire.marks(marked).items() <= whole.items()


@pytest.mark.parametrize(
    ('server', 'found'),
    [
        ('host-1.example.org.0', {'w', 'b', 't'}),
        ('x' * 200, {'b', 't'}),
        ('a;t=0', {'b', 't'}),
        (None, {'b', 't'}),
    ],
)
def test_a_mark_for_which_there_is_no_room_leaves_the_others(server, found):
    plain = str(uuid.uuid4())
    extension = Extension(1, 1700000000.1234, 9500, server)
    assert wire.marks(wire.marked_uuid(plain, extension)).keys() == found


def test_marks_survive_a_plain_cell_that_only_knows_the_uuid():
    told = Extension(1, 1700000000.125, 9500, 'host.3')
    marked = wire.marked_uuid(str(uuid.uuid4()), told)
    question = wire.decode(wire.encode(builders.broadcast('api', uuid=marked)))
    assert wire.source_extension(question) == dataclasses.replace(told, version=0)
    answer = builders.response('leaf', 'leaf!api', response_uuid=question.uuid)
    assert wire.marks(wire.decode(wire.encode(answer)).response_uuid)['w'] == 'host.3'


def test_a_plain_uuid_has_no_marks():
    message = builders.broadcast('api')
    assert wire.marks(message.uuid) == {}
    assert wire.source_extension(message) is None


@hypothesis.given(st.text(st.sampled_from(';=wbt01.e-nai') | st.characters(), max_size=84))
@hypothesis.example(';t=nan')
@hypothesis.example(';t=1;b=' + '9' * 60)
def test_rubbish_behind_a_uuid_counts_as_told_or_as_nothing(rubbish):
    message = builders.broadcast('api', uuid=builders.UUID + rubbish)
    found = wire.source_extension(message)
    assert found is None or isinstance(found, Extension)


# -- answers --

FAILURES = st.builds(
    Failure,
    builders.TEXT.map(lambda text: text.removesuffix('_Remote')),
    builders.TEXT.map(lambda text: text.removesuffix('_Remote')),
    builders.TEXT,
    st.lists(builders.JSON, max_size=2).map(tuple),
    builders.JSON_OBJECTS,
)

RESPONSES = st.builds(Response, builders.TEXT, value=builders.JSON) | st.builds(
    Response, builders.TEXT, failure=FAILURES
)


@hypothesis.given(st.lists(RESPONSES, max_size=3))
def test_t10_answers_survive_being_sent(responses):
    before = copy.deepcopy(responses)
    sent = builders.response('leaf', 'leaf!api', method_kwargs=wire.encode_responses(responses))
    assert wire.decode_responses(wire.decode(wire.encode(sent))) == responses == before


def test_r8_an_answer_carries_no_copy_of_the_request():
    kwargs = wire.encode_responses([Response('api!leaf', 'v')])
    assert kwargs.keys() == {'orig_message', 'responses'}
    assert kwargs['orig_message'] == '{}'
    assert [json.loads(text) for text in kwargs['responses']] == [
        {'cell_name': 'api!leaf', 'value': 'v', 'failure': False}
    ]


def test_x6_an_error_that_is_sent_has_no_traceback():
    failure = Failure('CellTimeout', 'nova.exception', 'too late', ('too late',), {'code': 404})
    (text,) = wire.encode_responses([Response('api!leaf', failure=failure)])['responses']
    record = json.loads(text)
    assert record['failure'] is True
    assert json.loads(record['value']) == {
        'class': 'CellTimeout',
        'module': 'nova.exception',
        'message': 'too late',
        'tb': [],
        'args': ['too late'],
        'kwargs': {'code': 404},
    }


@hypothesis.given(st.none() | st.integers() | builders.TEXT | builders.JSON_OBJECTS)
def test_an_answer_without_a_list_of_answers_is_refused(value):
    message = builders.response('leaf', 'leaf!api', method_kwargs={'responses': value})
    with pytest.raises(exceptions.InvalidMessage):
        wire.decode_responses(message)


@hypothesis.given(
    builders.JSON
    | builders.JSON.map(json.dumps)
    | st.fixed_dictionaries(
        {'cell_name': builders.JSON, 'value': builders.JSON, 'failure': builders.JSON}
    ).map(json.dumps)
    | st.fixed_dictionaries(
        {
            'class': builders.TEXT | builders.JSON,
            'module': builders.JSON,
            'message': builders.JSON,
            'args': builders.JSON,
            'kwargs': builders.JSON,
        }
    ).map(
        lambda failure: json.dumps(
            {'cell_name': 'api', 'value': json.dumps(failure), 'failure': True}
        )
    )
)
@hypothesis.settings(max_examples=300)
def test_rubbish_among_answers_is_taken_or_refused_and_nothing_worse(text):
    message = builders.response('leaf', 'leaf!api', method_kwargs={'responses': [text]})
    try:
        (found,) = wire.decode_responses(message)
    except exceptions.InvalidMessage:
        return
    assert isinstance(found.cell_name, str)
    if found.failure is not None:
        assert isinstance(remote_errors.exception_of(found.failure), Exception)


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (datetime.datetime(2016, 3, 1, 12), '"2016-03-01T12:00:00.000000"'),
        (datetime.datetime(2016, 3, 1, 12, tzinfo=datetime.UTC), '"2016-03-01T12:00:00.000000"'),
        ({'b', 'a'}, '["a","b"]'),
        (frozenset(), '[]'),
        (('a', 1), '["a",1]'),
        (types.MappingProxyType({'a': None}), '{"a":null}'),
        ({1: 'a'}, '{"1":"a"}'),
        (paths.CellPath(('api', 'leaf')), '"api!leaf"'),
    ],
)
def test_values_that_json_does_not_know_are_written_as_nova_writes_them(value, text):
    assert wire.dumps(value) == text
