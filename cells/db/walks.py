"""Long walks over the instances of a cell, page by page, shared by all its workers.

A walk is a row with the place that it has come to. A worker that takes a page moves the
place on and notes the page in a row of its own, in one transaction: so no two have the same
one. It drops that row when it is through; the page of a worker that died is taken over.
Rows are in ``heal_positions``; times are of the database.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells.db import engine, models, statements

_COLUMNS: Final = models.HealPosition.__table__.c

#: The walk of the healing over all instances.
ROUND: Final = 'instances'
#: In ``claimed_by`` of a walk: no page is left to take.
AT_END: Final = 'at end'
#: Between the name of a walk and the place where a page of it begins.
MARK: Final = '/'
#: Behind the name of a walk: what it came to when it was last over, at ``claimed_until``.
LAST: Final = '-last'

#: Returns the uuids of the page behind a place: (connection, place, length).
Pages = Callable[[sa.Connection, str | None, int], Sequence[str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Some instances, one after the other by their uuids.

    :ivar walk: its name.
    :ivar after: the uuid before the first, None at the beginning.
    :ivar until: the last one, None at the end of all.
    """

    walk: str
    after: str | None
    until: str | None
    uuids: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its row."""
        return self.walk + MARK + (self.after or '')


def walk_begin(connection: sa.Connection, name: str) -> None:
    """Make a walk if there is none of this name."""
    statements.insert_new(
        connection,
        models.HealPosition,
        [
            {
                'name': name,
                'position': None,
                'round': 1,
                'looked_at': 0,
                'repaired': 0,
                'started_at': engine.now(),
                'claimed_until': 0.0,
            }
        ],
    )


def walk_get(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    """Return a walk, values by column, or None."""
    found = connection.execute(sa.select(*_COLUMNS).where(_COLUMNS.name == name)).mappings().first()
    return None if found is None else dict(found)


def walk_rests(database: engine.Database, name: str) -> bool:
    """Tell whether a walk has not begun anew yet, so that no page of it can be taken."""
    query = sa.select(_COLUMNS.name).where(
        _COLUMNS.name == name,
        _COLUMNS.claimed_by.is_(None),
        _COLUMNS.position.is_(None),
        _COLUMNS.claimed_until > engine.now(),
    )
    with database.read() as connection:
        return connection.execute(query).first() is not None


def page_take(
    connection: sa.Connection,
    name: str,
    worker: str,
    seconds: float,
    length: int,
    pages: Pages,
) -> Page | None:
    """Take a page of a walk: one that was left behind, or the next one.

    :param seconds: after which another worker may take it over.
    :returns: None when none is left, or the walk rests.
    """
    left = _take_over(connection, name, worker, seconds)
    if left is not None:
        uuids = tuple(pages(connection, left['position'], length))
        until = uuids[-1] if len(uuids) == length else None
        return Page(name, left['position'], until, uuids)
    query = sa.select(*_COLUMNS).where(
        _COLUMNS.name == name,
        _COLUMNS.claimed_by.is_(None),
        _COLUMNS.claimed_until < engine.now(),
    )
    found = statements.locked(connection, query, free_only=False)
    if not found:
        return None
    after = found[0]['position']
    uuids = tuple(pages(connection, after, length))
    last = len(uuids) < length
    page = Page(name, after, None if last else uuids[-1], uuids)
    connection.execute(
        sa.update(models.HealPosition)
        .where(_COLUMNS.name == name)
        .values(position=after if last else uuids[-1], claimed_by=AT_END if last else None)
    )
    statements.insert_or_update(
        connection,
        models.HealPosition,
        {
            'name': page.name,
            'position': after,
            'round': found[0]['round'],
            'looked_at': 0,
            'repaired': 0,
            'started_at': engine.now(),
            'claimed_by': worker,
            'claimed_until': engine.now() + seconds,
        },
        {'claimed_by': worker, 'claimed_until': engine.now() + seconds},
    )
    return page


def _take_over(
    connection: sa.Connection, name: str, worker: str, seconds: float
) -> dict[str, Any] | None:
    query = (
        sa.select(_COLUMNS.name, _COLUMNS.position)
        .where(_of(name), _COLUMNS.claimed_until < engine.now())
        .order_by(_COLUMNS.name)
        .limit(1)
    )
    found = statements.locked(connection, query, free_only=True)
    if not found:
        return None
    change = sa.update(models.HealPosition).where(_COLUMNS.name == found[0]['name'])
    connection.execute(change.values(claimed_by=worker, claimed_until=engine.now() + seconds))
    return found[0]


def _of(name: str) -> sa.ColumnElement[bool]:
    return _COLUMNS.name.startswith(name + MARK, autoescape=True)


def page_done(
    connection: sa.Connection, page: Page, worker: str, looked_at: int, repaired: int
) -> bool:
    """Note that a worker is through with its page; False when another has taken it over."""
    gone = sa.delete(models.HealPosition).where(
        _COLUMNS.name == page.name, _COLUMNS.claimed_by == worker
    )
    if not connection.execute(gone).rowcount:
        return False
    count(connection, page.walk, looked_at, repaired)
    return True


def page_later(connection: sa.Connection, page: Page, worker: str, seconds: float) -> None:
    """Give a page back, to be taken by anybody after so many seconds."""
    change = sa.update(models.HealPosition).where(
        _COLUMNS.name == page.name, _COLUMNS.claimed_by == worker
    )
    connection.execute(change.values(claimed_until=engine.now() + seconds))


def count(connection: sa.Connection, name: str, looked_at: int, repaired: int) -> None:
    """Add to what a walk has come to."""
    change = sa.update(models.HealPosition).where(_COLUMNS.name == name)
    connection.execute(
        change.values(
            looked_at=_COLUMNS.looked_at + looked_at, repaired=_COLUMNS.repaired + repaired
        )
    )


def walk_over(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    """Return a walk of which all pages are done, locked; None when it goes on."""
    query = sa.select(*_COLUMNS, (engine.now() - _COLUMNS.started_at).label('seconds')).where(
        _COLUMNS.name == name, _COLUMNS.claimed_by == AT_END
    )
    found = statements.locked(connection, query, free_only=False)
    if not found or connection.execute(sa.select(_COLUMNS.name).where(_of(name)).limit(1)).first():
        return None
    return found[0]


def walk_again(connection: sa.Connection, walk: Mapping[str, Any], rest: float) -> None:
    """Begin a walk, which is over, anew after so many seconds; what it came to is kept as well.

    :param walk: as :func:`walk_over` returned it.
    """
    result = {name: walk[name] for name in ('round', 'looked_at', 'repaired', 'started_at')}
    statements.insert_or_update(
        connection,
        models.HealPosition,
        {'name': walk['name'] + LAST, 'claimed_until': engine.now(), **result},
        {'claimed_until': engine.now(), **result},
    )
    connection.execute(
        sa.update(models.HealPosition)
        .where(_COLUMNS.name == walk['name'])
        .values(
            position=None,
            round=walk['round'] + 1,
            looked_at=0,
            repaired=0,
            started_at=engine.now() + rest,
            claimed_by=None,
            claimed_until=engine.now() + rest,
        )
    )


def walk_drop(connection: sa.Connection, name: str) -> None:
    """Forget a walk."""
    connection.execute(sa.delete(models.HealPosition).where(_COLUMNS.name == name))


def release_all(connection: sa.Connection, worker: str) -> None:
    """Give back the pages of an earlier process in this worker's slot."""
    change = sa.update(models.HealPosition).where(_COLUMNS.claimed_by == worker)
    connection.execute(change.values(claimed_until=0.0))
