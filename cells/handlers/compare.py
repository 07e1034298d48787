"""What a cell has of its instances, compared with the records at the top.

Nothing is repaired here: the cell is told what differs, and tells it again. That a cell does
not have an instance is noted, and deletes nothing (S4).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, exceptions, inconsistencies, messages, paths
from cells.db import contents, healing, replicas
from cells.state import CellStateManager
from cells.stats import Stats

#: Instances in one question at most.
MOST_ITEMS: Final = 500
#: Records of which a cell is asked at a time whether it knows them.
MOST_EXTRA: Final = 500
LONGEST_UUID: Final = 36
#: Names that a cell may have had.
MOST_NAMES: Final = 100

DIFFER: Final = 'differ'
MISSING: Final = 'missing'
GONE: Final = 'gone'
REFUSED: Final = 'refused'
EXTRA: Final = 'extra'


class CompareHandlers:
    """Compares at the top of the tree."""

    OPERATIONS: Final = ('x_instances_compare',)

    def __init__(self, *, state: CellStateManager, stats: Stats) -> None:
        self._state = state
        self._stats = stats

    def x_instances_compare(
        self,
        connection: sa.Connection,
        message: messages.Message,
        items: object,
        after: object = None,
        until: object = None,
        whole: object = False,
        unknown: object = (),
    ) -> dict[str, list[str]]:
        """Return, by what is to be done about it, the instances that are not the same here.

        ``differ``: tell it again; ``missing``: there is no record; ``gone``: it is deleted
        here; ``refused``: it belongs to another cell; ``extra``: a record of one that the
        question did not name.

        :param items: a list of uuid, digest and the numbers of the fields of
            :data:`cells.db.contents.KEPT` that it does not have.
        :param after: with ``whole``, they are all that the cell has after this uuid, and
            until that one; None for the beginning and the end.
        :param unknown: instances that the cell has never had.
        :raises Invalid: something of it cannot be.
        """
        route = message.routing_path.backwards()
        given = _items(items)
        aliases = self._state.aliases
        found, mended = differences(connection, aliases, route, given)
        if mended:
            healing.consistent(connection, mended)
        if whole is True:
            places = _place('after', after), _place('until', until)
            found[EXTRA] = extra(connection, aliases, route, *places, list(given))
        self._note_unknown(connection, route, _uuids(unknown))
        self._stats.count('instances_compared', len(given))
        self._stats.count(
            'drift_found',
            sum(len(found[what]) for what in (DIFFER, MISSING, GONE, EXTRA)),
            neighbour=message.neighbour or self._state.topology.own_name,
        )
        return found

    def _note_unknown(
        self, connection: sa.Connection, route: paths.CellPath, uuids: Sequence[str]
    ) -> None:
        for record in replicas.records(connection, uuids).values():
            if not record.deleted and _is_owner(self._state.aliases, record.cell_name, route):
                inconsistencies.not_found(connection, record, route, self._stats)


def differences(
    connection: sa.Connection,
    aliases: paths.Aliases,
    route: paths.CellPath,
    given: Mapping[str, tuple[str, frozenset[str]]],
) -> tuple[dict[str, list[str]], list[str]]:
    """Return what differs between a cell and the records here, by what is to be done about it.

    :param route: the path to the cell.
    :param given: by uuid, the digest of an instance there, and the fields that it does not have.
    :returns: and those that are said not to fit their cell and do.
    """
    left_out = {uuid: absent for uuid, (_, absent) in given.items()}
    records = healing.records(connection, given)
    known = contents.contents(connection, given, left_out)
    buried = replicas.buried(connection, given.keys() - records.keys())
    found: dict[str, list[str]] = {name: [] for name in (DIFFER, MISSING, GONE, REFUSED, EXTRA)}
    mended = []
    for uuid, (digest, _) in given.items():
        record = records.get(uuid)
        if record is None:
            if digest != contents.DELETED:
                found[GONE if uuid in buried else MISSING].append(uuid)
        elif record.deleted:
            if digest != contents.DELETED:
                found[GONE].append(uuid)
        elif not _is_owner(aliases, record.cell_name, route, or_none=True):
            found[REFUSED].append(uuid)
        elif known[uuid].digest != digest:
            found[DIFFER].append(uuid)
        elif record.inconsistent is not None:
            mended.append(uuid)
    return found, mended


def extra(
    connection: sa.Connection,
    aliases: paths.Aliases,
    route: paths.CellPath,
    after: str | None,
    until: str | None,
    named: Sequence[str],
) -> list[str]:
    """Return the records of a cell in a range of uuids that it did not name."""
    known_as = [str(path) for path in _known_as(aliases, route)]
    records = healing.records_between(connection, known_as, after, until, named, MOST_EXTRA)
    # A database may take two names for the same that differ in the case of a letter.
    return [uuid for uuid, cell_name in records if _is_owner(aliases, cell_name, route)]


def _is_owner(
    aliases: paths.Aliases, cell_name: str | None, route: paths.CellPath, or_none: bool = False
) -> bool:
    if cell_name is None:
        return or_none
    try:
        return aliases.resolve(paths.CellPath.parse(cell_name)) == route
    except ValueError:
        return False


def _known_as(aliases: paths.Aliases, path: paths.CellPath) -> set[paths.CellPath]:
    """Return the paths that a cell has, and had."""
    found, looked_at = {path}, 0
    todo = [path]
    while todo and looked_at < MOST_NAMES:
        looked_at += 1
        one = todo.pop()
        for old, new in aliases.prefixes.items():
            if one.starts_with(new):
                former = paths.CellPath(old.names + one.names[len(new) :])
                if former not in found:
                    found.add(former)
                    todo.append(former)
    return found


def _items(value: object) -> dict[str, tuple[str, frozenset[str]]]:
    given = arguments.sequence('items', value)
    if len(given) > MOST_ITEMS:
        raise exceptions.Invalid(
            reason='%d items, at most %d are compared at a time' % (len(given), MOST_ITEMS)
        )
    found = {}
    for item in given:
        uuid, digest, absent = _three(item)
        numbers = [arguments.number('a field', one) for one in arguments.sequence('absent', absent)]
        names = frozenset(contents.KEPT[one] for one in numbers if one < len(contents.KEPT))
        found[_uuid(uuid)] = (arguments.text('digest', digest), names)
    return found


def _three(item: object) -> tuple[Any, Any, Any]:
    parts = arguments.sequence('an item', item)
    if len(parts) != 3:
        raise exceptions.Invalid(
            reason='an item is %.60s, not uuid, digest and fields' % ascii(item)
        )
    return parts[0], parts[1], parts[2]


def _uuid(value: object) -> str:
    return arguments.text('uuid', value, longest=LONGEST_UUID)


def _uuids(value: object) -> list[str]:
    found = [_uuid(one) for one in arguments.sequence('unknown', value)]
    if len(found) > MOST_EXTRA:
        raise exceptions.Invalid(
            reason='%d unknown instances, at most %d are told of at a time'
            % (len(found), MOST_EXTRA)
        )
    return found


def _place(name: str, value: object) -> str | None:
    return None if value is None else arguments.text(name, value, longest=LONGEST_UUID)
