"""The whole tree as its cells tell of it, put together from what each says of its neighbours."""

import dataclasses
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cells import exceptions
from cells.cmd.manage import app
from cells.db import drains
from cells.db import neighbours as db_neighbours
from cells.paths import SEPARATOR
from cells.reports import DRAINING, NODES
from cells.sightings import MUTE_SECONDS

UP: Final = 'up'
DOWN: Final = 'down'
UNKNOWN: Final = 'unknown'

_MESSAGE: Final = re.compile(', message [0-9a-f-]{36}')


@dataclasses.dataclass
class Node:
    """A cell of the tree.

    :ivar path: from this cell.
    :ivar state: :data:`UP`: it answered; or a nova-cells that was heard of lately.
    :ivar why: what is wrong with it, or why it did not answer.
    :ivar protocol: ``ours``, ``plain`` or ``unknown``.
    :ivar lag: seconds that its last message to the cell above it was under way.
    :ivar silent: seconds since the cell above it heard of it.
    :ivar waiting: changes that the cell above it has for it, and ``oldest`` their age.
    :ivar instances: in it; at the top, all that it has records of. None when nobody can tell.
    """

    path: str
    state: str = UNKNOWN
    why: str = ''
    protocol: str = UNKNOWN
    cell_id: str | None = None
    lag: float | None = None
    clock_offset: float | None = None
    silent: float | None = None
    drained: bool = False
    waiting: int | None = None
    oldest: float | None = None
    parked: int | None = None
    unsent: int | None = None
    instances: int | None = None
    hosts_up: int | None = None
    hosts_down: int | None = None
    capacities: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How far below this cell it is."""
        return self.path.count(SEPARATOR)

    @property
    def name(self) -> str:
        """Its name."""
        return self.path.rpartition(SEPARATOR)[2]


def ask(program: app.ManageApp) -> list[Node]:
    """Ask all cells below this one, over its daemon; in the order of a tree.

    :raises Exception: one of ``base.ERRORS``: the daemon does not answer.
    """
    found = program.ops().tree(program.request(), program.answer_seconds)
    return assemble(found['answers'], found['missing'])


def assemble(
    answers: Iterable[Mapping[str, Any]], missing: Iterable[Mapping[str, Any]]
) -> list[Node]:
    """Return the tree that answers to ``x_status`` describe.

    :param missing: cell and reason of those that did not answer.
    """
    nodes: dict[str, Node] = {}
    told = sorted(answers, key=lambda one: one['cell'].count(SEPARATOR))
    for answer in told:
        _add_cell(nodes, answer['cell'], answer['value'])
    for one in missing:
        node = nodes.setdefault(one['cell'], Node(one['cell']))
        if one.get('error') == exceptions.CellServiceAPIMethodNotFound.__name__:
            # It is there, but older than the question; of a nova-cells the cell above it tells.
            if node.protocol != 'plain':
                node.state, node.why = UP, ''
        elif node.state != UP:
            # The ids of messages are for logs.
            node.state = DOWN
            node.why = node.why or _MESSAGE.sub('', one['reason'])
    return sorted(nodes.values(), key=lambda node: node.path.split(SEPARATOR))


def _add_cell(nodes: dict[str, Node], path: str, value: Mapping[str, Any]) -> None:
    node = nodes.setdefault(path, Node(path))
    node.state, node.why, node.protocol = UP, '', 'ours'
    node.cell_id = value['id']
    node.drained = node.drained or not value['takes_builds']
    node.instances = value['instances']
    node.hosts_up, node.hosts_down = value['hosts']['up'], value['hosts']['down']
    node.capacities = value['capacities']
    node.parked = value['journal'].get('dead_messages', 0)
    node.unsent = value['unsent']['rows']
    for one in value['neighbours']:
        if not one['is_parent']:
            _add_child(nodes, path, one)


def _add_child(nodes: dict[str, Node], path: str, one: Mapping[str, Any]) -> None:
    below = SEPARATOR.join((path, one['name']))
    node = nodes.setdefault(below, Node(below))
    node.protocol = one['protocol']
    node.cell_id = node.cell_id or one['cell_id']
    node.lag, node.clock_offset = one['lag'], one['clock_offset']
    node.drained = node.drained or one['drained']
    node.oldest, node.waiting = one['oldest_unconfirmed'], one['unconfirmed']
    node.silent = time.time() - one['last_seen'] if one['last_seen'] else None
    if node.state != UP:
        # A nova-cells does not know the question: what was heard from it has to do.
        plain = one['protocol'] == 'plain'
        node.state = UP if plain and not one['mute'] and one['link_up'] is not False else DOWN
        if one['link_error']:
            node.why = 'its message bus cannot be used: %s' % one['link_error']
        elif node.silent is None:
            node.why = 'nothing was ever heard from it'
        elif one['mute']:
            node.why = 'nothing is heard from it'
    for text in one.get('nodes', ()):
        _add_below(nodes, below, text, one['nodes'])


def _add_below(nodes: dict[str, Node], child: str, text: str, all_nodes: Iterable[str]) -> None:
    """Add a cell that a child has told of, so that it is not missing when the child is."""
    parents = {name: parent for _, name, parent, _ in map(_split, all_nodes)}
    cell_id, name, _, _ = _split(text)
    way: list[str] = []
    top = child.rpartition(SEPARATOR)[2]
    while name and name != top and name not in way:
        way.append(name)
        name = parents.get(name, '').partition(',')[0]
    if name != top or not way:
        return
    path = SEPARATOR.join((child, *reversed(way)))
    node = nodes.setdefault(path, Node(path))
    node.cell_id = node.cell_id or cell_id
    node.protocol = 'ours'


def _split(text: str) -> tuple[str, str, str, str]:
    parts = [*text.split(';'), '', '', '', '']
    return parts[0], parts[1], parts[2], parts[3]


def of_database(program: app.ManageApp, rows: Iterable[Mapping[str, Any]]) -> list[Node]:
    """Return what the database of this cell knows of the tree, without asking anybody.

    :param rows: the neighbours.
    """
    database = program.database()
    reports = db_neighbours.reports_get_all(database)
    drained = drains.drain_get_all(database)
    own = program.own_name
    nodes = {own: Node(own, protocol='ours', drained=own in drained)}
    for row in rows:
        if row['is_parent']:
            continue
        seen = reports.get(row['name'], {})
        capabilities = _json(seen.get('capabilities'))
        one = {
            'name': row['name'],
            'protocol': {-1: UNKNOWN, 0: 'plain'}.get(seen.get('protocol', -1), 'ours'),
            'cell_id': seen.get('cell_id'),
            'lag': None,
            'clock_offset': seen.get('clock_offset'),
            'drained': row['name'] in drained or row['name'] in capabilities.get(DRAINING, ()),
            'oldest_unconfirmed': None,
            'unconfirmed': None,
            'last_seen': seen.get('last_seen'),
            'mute': False,
            'link_up': None,
            'link_error': None,
            'nodes': capabilities.get(NODES, ()),
        }
        _add_child(nodes, own, one)
        node = nodes[SEPARATOR.join((own, row['name']))]
        node.capacities = _json(seen.get('capacities'))
        node.state = UP if node.silent is not None and node.silent < MUTE_SECONDS else UNKNOWN
        node.why = '' if node.state == UP else node.why
    return sorted(nodes.values(), key=lambda node: node.path.split(SEPARATOR))


def _json(text: str | None) -> dict[str, Any]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}
