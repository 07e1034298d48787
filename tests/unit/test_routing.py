import contextlib

import hypothesis
import pytest

from cells import exceptions, paths, routing
from cells.operations import Direction
from tests.unit import builders

MID = routing.Neighbours('mid', frozenset({'api'}), frozenset({'leaf', 'other'}))


def hop(routing_path, target, direction):
    return routing.next_hop(
        paths.CellPath.parse(routing_path),
        paths.CellPath.parse(target),
        Direction(direction),
        MID,
    )


@pytest.mark.parametrize(
    ('routing_path', 'target', 'direction', 'expected'),
    [
        ('mid', 'mid', 'down', None),
        ('api!mid', 'api!mid', 'down', None),
        ('leaf!mid', 'leaf!mid', 'up', None),
        ('mid', 'mid!leaf', 'down', 'leaf'),
        ('mid', 'mid!api', 'up', 'api'),
        ('api!mid', 'api!mid!leaf', 'down', 'leaf'),
        ('top!api!mid', 'top!api!mid!other!deep!deeper', 'down', 'other'),
        ('leaf!mid', 'leaf!mid!api', 'up', 'api'),
        ('deep!leaf!mid', 'deep!leaf!mid!api!top', 'up', 'api'),
    ],
)
def test_a_message_goes_to_the_next_cell_of_its_target(routing_path, target, direction, expected):
    assert hop(routing_path, target, direction) == expected


@pytest.mark.parametrize(
    ('routing_path', 'target', 'direction', 'reason'),
    [
        ('api!mid', 'api', 'down', 'destination is api but routing_path is api!mid'),
        ('api!mid', 'api!leaf', 'down', 'destination is'),
        ('api!mid', 'mid', 'down', 'destination is'),
        ('api!mid', 'api!other!leaf', 'down', 'destination is'),
        ('api!mid', 'mid!api!leaf', 'down', 'destination is'),
        ('api!mid', 'api!mid!nosuch', 'down', 'Unknown child when routing to api!mid!nosuch'),
        ('api!mid', 'api!mid!api', 'down', 'Unknown child'),
        ('leaf!mid', 'leaf!mid!nosuch', 'up', 'Unknown parent when routing to leaf!mid!nosuch'),
        ('leaf!mid', 'leaf!mid!other', 'up', 'Unknown parent'),
    ],
)
def test_a_message_without_a_way_to_its_target_is_refused(routing_path, target, direction, reason):
    with pytest.raises(exceptions.CellRoutingInconsistency, match=reason):
        hop(routing_path, target, direction)


@hypothesis.given(builders.PATHS)
def test_a_message_walks_every_cell_of_its_target_once_and_its_answer_walks_back(path):
    def walk(message, direction):
        names = message.target_cell.names
        for place, name in enumerate(names):
            beside = {direction: frozenset(names[place + 1 : place + 2])}
            here = routing.Neighbours(
                name,
                beside.get(Direction.UP, frozenset()),
                beside.get(Direction.DOWN, frozenset()),
            )
            found = routing.next_hop(message.routing_path, message.target_cell, direction, here)
            if found is None:
                return message
            message = message.hopped(found)
        raise AssertionError('it never arrives')

    arrived = walk(builders.targeted(path.names[0], str(path)), Direction.DOWN)
    assert arrived.routing_path == path
    back = routing.way_back(arrived)
    returned = walk(builders.response(path.last, str(back)), Direction.UP)
    assert returned.routing_path.last == path.names[0]


@pytest.mark.parametrize(
    ('path', 'direction'),
    [('api', 'down'), ('top!api', 'down'), ('leaf', 'up'), ('deep!leaf', 'up'), ('other', 'up')],
)
def test_a_message_from_the_right_side_may_come_in(path, direction):
    message = builders.broadcast(path, direction)
    routing.check_arrival(message, MID)
    assert message.routing_path.last in MID.towards(message.direction.opposite)


@pytest.mark.parametrize(
    ('path', 'direction', 'reason'),
    [
        ('leaf', 'down', 'leaf is not one of the parents of mid'),
        ('api', 'up', 'api is not one of the children of mid'),
        ('stranger', 'down', 'stranger is not one of the parents of mid'),
        ('api!stranger', 'up', 'stranger is not one of the children of mid'),
    ],
)
@pytest.mark.parametrize('make', [builders.broadcast, builders.targeted, builders.response])
def test_a_message_from_the_wrong_side_is_refused(path, direction, reason, make):
    target = () if make is builders.broadcast else (path + '!mid',)
    with pytest.raises(exceptions.CellRoutingInconsistency, match=reason):
        routing.check_arrival(make(path, *target, direction=direction), MID)


@pytest.mark.parametrize('path', ['mid', 'mid!api', 'top!mid!api'])
def test_r6_a_message_that_comes_back_to_a_cell_is_refused(path):
    with pytest.raises(exceptions.CellRoutingInconsistency, match='comes back to mid'):
        routing.check_arrival(builders.broadcast(path), MID)


@pytest.mark.parametrize(
    ('path', 'direction', 'expected'),
    [
        ('mid', 'down', ('leaf', 'other')),
        ('mid', 'up', ('api',)),
        ('api!mid', 'down', ('leaf', 'other')),
        ('leaf!mid', 'up', ('api',)),
        ('leaf!mid', 'down', ('other',)),
        ('api!mid', 'up', ()),
    ],
)
def test_a_broadcast_goes_to_one_side_and_never_back(path, direction, expected):
    hops = routing.broadcast_hops(builders.broadcast(path, direction), MID, 10)
    assert (hops.send_to, hops.cut_off) == (expected, ())


LIMITS = [
    # passed, limit of the source, own limit, whether it goes on
    (1, None, 1, False),
    (1, None, 2, True),
    (2, 2, 10, False),
    (2, 3, 1, True),
    (3, 2, 10, False),
    (1, 0, 10, False),
]


@pytest.mark.parametrize(('passed', 'limit', 'own_limit', 'goes_on'), LIMITS)
def test_r5_a_broadcast_at_its_limit_names_the_cells_that_it_leaves_out(
    passed, limit, own_limit, goes_on
):
    path = '!'.join(['a', 'api', 'mid'][-passed:])
    hops = routing.broadcast_hops(builders.broadcast(path, max_hop_count=limit), MID, own_limit)
    children = ('leaf', 'other')
    assert hops == routing.BroadcastHops(*((children, ()) if goes_on else ((), children)))


@pytest.mark.parametrize(('passed', 'limit', 'own_limit', 'goes_on'), LIMITS)
def test_a_targeted_message_at_its_limit_is_refused(passed, limit, own_limit, goes_on):
    path = '!'.join(['a', 'api', 'mid'][-passed:])
    message = builders.targeted(path, path + '!leaf', max_hop_count=limit)
    refused = pytest.raises(exceptions.CellMaxHopCountReached, match='hop count: %d' % passed)
    with contextlib.nullcontext() if goes_on else refused:
        routing.check_hops(message, own_limit)


@pytest.mark.parametrize(
    ('message', 'expected'),
    [
        (builders.targeted('api!mid!leaf', 'api!mid!leaf'), 'leaf!mid!api'),
        (builders.targeted('api!mid', 'api!mid!leaf'), 'mid!api'),
        (builders.broadcast('api!mid!leaf'), 'leaf!mid'),
        (builders.broadcast('leaf!mid', 'up'), 'mid!leaf'),
    ],
)
def test_an_answer_goes_all_the_way_back_or_to_the_cell_that_merges(message, expected):
    assert str(routing.way_back(message)) == expected
