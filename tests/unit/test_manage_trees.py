"""The tree as it is put together from what cells say of their neighbours."""

import time

import pytest

from cells.cmd.manage import topology, trees, words


def neighbour(name, **values):
    return {
        'name': name,
        'is_parent': False,
        'protocol': 'ours',
        'cell_id': 'id-' + name,
        'lag': 0.001,
        'clock_offset': 0.0,
        'drained': False,
        'oldest_unconfirmed': None,
        'unconfirmed': 0,
        'last_seen': time.time(),
        'mute': False,
        'link_up': True,
        'link_error': None,
        **values,
    }


def answer(cell, *neighbours, **values):
    return {
        'cell': cell,
        'value': {
            'id': 'id-' + cell.rpartition('!')[2],
            'takes_builds': True,
            'instances': 1,
            'hosts': {'up': 2, 'down': 1, 'disabled': 0},
            'capacities': {},
            'journal': {},
            'unsent': {'rows': 0},
            'neighbours': list(neighbours),
            **values,
        },
    }


def by_path(nodes):
    return {node.path: node for node in nodes}


def test_cells_stand_below_their_parents_in_the_order_of_a_tree():
    found = trees.assemble(
        [
            answer('api!b!x'),
            answer('api!b', neighbour('api', is_parent=True), neighbour('x')),
            answer('api', neighbour('b'), neighbour('a'), neighbour('a-b')),
            answer('api!a'),
            answer('api!a-b'),
        ],
        [],
    )
    assert [node.path for node in found] == ['api', 'api!a', 'api!a-b', 'api!b', 'api!b!x']
    assert {node.state for node in found} == {trees.UP}


def test_o9_a_plain_cell_is_up_as_long_as_it_is_heard_of():
    states = {
        'heard': neighbour('heard', protocol='plain'),
        'mute': neighbour('mute', protocol='plain', mute=True),
        'cut': neighbour('cut', protocol='plain', link_up=False, link_error='refused'),
    }
    found = by_path(trees.assemble([answer('api', *states.values())], []))
    assert found['api!heard'].state == trees.UP
    assert found['api!heard'].instances is None, 'nobody can tell'
    assert (found['api!mute'].state, found['api!mute'].why) == (
        trees.DOWN,
        'nothing is heard from it',
    )
    assert found['api!cut'].why == 'its message bus cannot be used: refused'


def test_o9_what_is_below_a_silent_cell_is_not_missing():
    nodes = ['1;mid;api;1', '2;leaf;mid;1', '3;twig;leaf;1', '4;stray;nosuch;1', 'odd']
    reason = 'no answer, message %s, in time' % ('a' * 8 + '-aaaa' * 3 + '-' + 'a' * 12)
    found = by_path(
        trees.assemble(
            [answer('api', neighbour('mid', mute=True, nodes=nodes))],
            [{'cell': 'api!mid', 'reason': reason}, {'cell': 'api!new', 'reason': reason}],
        )
    )
    assert list(found) == ['api', 'api!mid', 'api!mid!leaf', 'api!mid!leaf!twig', 'api!new']
    assert found['api!mid'].why == 'nothing is heard from it'
    assert found['api!new'].why == 'no answer, in time'
    assert found['api!mid!leaf!twig'].state == trees.UNKNOWN
    assert found['api!mid!leaf'].cell_id == '2'


def test_a_cell_that_does_not_know_the_question_is_there():
    unknown = 'CellServiceAPIMethodNotFound'
    found = by_path(
        trees.assemble(
            [
                answer(
                    'api',
                    neighbour('older'),
                    neighbour('plain', protocol='plain'),
                    neighbour('mute', protocol='plain', mute=True),
                )
            ],
            [
                {'cell': 'api!' + name, 'reason': 'not found', 'error': unknown}
                for name in ('older', 'plain', 'mute')
            ],
        )
    )
    states = [found['api!' + name].state for name in ('older', 'plain', 'mute')]
    assert states == [trees.UP, trees.UP, trees.DOWN]


def test_nodes_that_name_each_other_as_parents_end():
    nodes = ['1;a;b;1', '2;b;a;1']
    found = trees.assemble([answer('api', neighbour('mid', nodes=nodes))], [])
    assert [node.path for node in found] == ['api', 'api!mid']


def test_c7_a_cell_is_drained_by_itself_or_by_the_one_above():
    found = by_path(
        trees.assemble(
            [
                answer('api', neighbour('a', drained=True), neighbour('b'), neighbour('c')),
                answer('api!a'),
                answer('api!b', takes_builds=False),
                answer('api!c'),
            ],
            [],
        )
    )
    assert [found['api!' + name].drained for name in 'abc'] == [True, True, False]


def test_the_tree_is_drawn():
    paths = ['top', 'top!a', 'top!a!x', 'top!a!x!1', 'top!a!y', 'top!b', 'top!b!z']
    assert list(topology.drawn([trees.Node(path) for path in paths])) == [
        'top',
        '├─ a',
        '│  ├─ x',
        '│  │  └─ 1',
        '│  └─ y',
        '└─ b',
        '   └─ z',
    ]


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (None, '-'),
        (0.0012, '1 ms'),
        (1.23, '1.2 s'),
        (59.6, '60 s'),
        (130, '2 min'),
        (-7300, '-2 h'),
        (200_000, '2 d'),
    ],
)
def test_lengths_of_time_are_written_for_people(seconds, text):
    assert words.duration(seconds) == text
