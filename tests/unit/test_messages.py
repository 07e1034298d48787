import copy
import dataclasses

import pytest

from cells import messages, paths, wire
from tests.unit import builders

EXTENSION = messages.Extension(1, 5.0, 1000, 'host.0')

ALL_KINDS = [
    builders.targeted('api', 'api!mid!leaf', extension=EXTENSION, unknown={'later': 1}),
    builders.broadcast('api', method_kwargs={'filters': {'a': [1]}}, max_hop_count=4),
    builders.response('leaf', 'leaf!mid!api', need_response=False, fanout=True),
]


@pytest.mark.parametrize('message', ALL_KINDS)
def test_a_hop_changes_only_path_and_count_and_only_in_the_copy(message):
    before = copy.deepcopy(message)
    hopped = message.hopped('mid')
    assert message == before
    assert type(hopped) is type(message)
    assert hopped.routing_path == message.routing_path.hopped('mid')
    assert hopped.hop_count == 2
    assert dataclasses.replace(hopped, routing_path=message.routing_path, hop_count=1) == message


def test_a_message_knows_its_source_and_the_cell_that_it_came_from():
    message = builders.broadcast('api')
    assert (message.source, message.neighbour) == ('api', None)
    message = message.hopped('mid').hopped('leaf')
    assert (message.source, message.neighbour) == ('api', 'mid')


@pytest.mark.parametrize(
    'value',
    [*ALL_KINDS, EXTENSION, messages.Response('api', value=1), messages.Failure('N', 'm', 't')],
)
def test_values_are_frozen(value):
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)


def test_what_a_cell_adds_for_the_next_one_is_a_new_message():
    message = builders.broadcast('api')
    assert messages.with_extension(message, EXTENSION).extension == EXTENSION
    assert message.extension is None


def test_an_answer_can_be_made_for_all_workers_of_its_last_hop():
    answer = builders.response('leaf', 'leaf!api')
    assert messages.with_fanout(answer, True) == builders.response('leaf', 'leaf!api', fanout=True)


def test_new_messages_have_ids_of_their_own_that_the_wire_accepts():
    found = {messages.new_uuid() for _ in range(100)}
    assert len(found) == 100
    sent = builders.broadcast('api', uuid=found.pop())
    assert wire.decode(wire.encode(sent)).uuid == sent.uuid


def test_paths_of_a_message_are_values():
    assert builders.targeted('api', 'api!leaf').target_cell == paths.CellPath(('api', 'leaf'))
