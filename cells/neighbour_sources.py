"""Where the neighbours of a cell are written down: the table ``cells``, or a JSON file."""

import collections
import json
import math
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import transport as messaging_transport

from cells import exceptions, paths
from cells.db import engine
from cells.db import neighbours as db_neighbours

#: Column of a neighbour -> (type, default); without a default it must be given.
COLUMNS: Final[Mapping[str, tuple[Any, Any]]] = {
    'transport_url': (str, None),
    'is_parent': (bool, False),
    'weight_offset': ((int, float), 0.0),
    'weight_scale': ((int, float), 1.0),
    'api_url': ((str, type(None)), None),
}


#: Characters of a URL: what the narrowest column takes, whatever the characters.
LONGEST_URL: Final = 16_000


def first_host(transport_url: str) -> Any:
    """Return the first broker host of a URL (hostname, port, username), None for none.

    :raises ValueError: it is no transport URL.
    """
    return next(iter(hosts(transport_url)), None)


def hosts(transport_url: str) -> list[Any]:
    """Return the broker hosts of a URL.

    :raises ValueError: it is no transport URL. What the parser says is not passed on: it
        may show a piece of the password.
    """
    try:
        url = messaging_transport.TransportURL.parse(cfg.ConfigOpts(), transport_url)
    except (oslo_messaging.InvalidTransportURL, ValueError):
        raise ValueError('not a transport URL') from None
    if not all(host.hostname and 0 < (host.port or 1) < 65536 for host in url.hosts):
        raise ValueError('not a transport URL')
    return list(url.hosts)


class Source(Protocol):
    """Gives the neighbours as rows: name and :data:`COLUMNS`."""

    @property
    def editable(self) -> bool:
        """Whether cells are created, changed and deleted through this service."""

    def read(self) -> list[dict[str, Any]]:
        """Return the neighbours.

        :raises ValueError: what is there describes none; the text says why.
        """


class TableSource:
    """The table ``cells``."""

    editable = True

    def __init__(self, database: engine.Database) -> None:
        self._database = database

    def read(self) -> list[dict[str, Any]]:
        """Return the rows."""
        return db_neighbours.cell_get_all(self._database)


class FileSource:
    """The file of ``[cells] cells_config``: an object of name -> columns (D9)."""

    editable = False

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)

    def read(self) -> list[dict[str, Any]]:
        """Return what the file says."""
        try:
            found = json.loads(self._path.read_text('utf-8'), object_pairs_hook=_Pairs)
        except OSError as error:
            raise ValueError('%s cannot be read: %s' % (self._path, error.strerror)) from None
        except (ValueError, RecursionError) as error:
            raise ValueError('%s is not JSON: %s' % (self._path, error)) from None
        if not isinstance(found, _Pairs):
            raise ValueError('%s is not an object of neighbours by name' % self._path)
        for name in found.twins:
            raise ValueError('%s: %s' % (self._path, exceptions.CellExists(name=name)))
        return [self._row(name, values) for name, values in found.items()]

    def _row(self, name: str, values: Any) -> dict[str, Any]:
        if not isinstance(values, _Pairs):
            raise ValueError('%s: neighbour %s is not an object' % (self._path, name))
        for key in values.twins:
            raise ValueError('%s: neighbour %s has %s twice' % (self._path, name, key))
        try:
            return {'name': name, **checked(values, complete=True, ignore_unknown=True)}
        except exceptions.Invalid as error:
            raise ValueError(
                '%s: neighbour %s: %s' % (self._path, name, error.kwargs['reason'])
            ) from None


def checked(
    values: Mapping[str, Any], *, complete: bool, ignore_unknown: bool = False
) -> dict[str, Any]:
    """Return the columns of a neighbour, each looked at; the name is not among them.

    :param complete: whether what is not given takes its default.
    :raises Invalid: a value does not fit; neither it nor a password in it is shown.
    """
    unknown = values.keys() - COLUMNS.keys() - {'name'}
    if unknown and not ignore_unknown:
        raise exceptions.Invalid(
            reason='a cell has no %s; it has name, %s'
            % (', '.join(sorted(map(str, unknown))), ', '.join(COLUMNS))
        )
    row: dict[str, Any] = {}
    for key, (kinds, default) in COLUMNS.items():
        if key not in values and not complete:
            continue
        value = values.get(key, default)
        if key == 'is_parent' and value in (0, 1, '0', '1') and not isinstance(value, bool):
            value = bool(int(value))
        if not isinstance(value, kinds) or not _storable(key, value):
            if key == 'transport_url':
                raise exceptions.Invalid(
                    reason='transport_url is missing or not a text as it should be'
                )
            raise exceptions.Invalid(reason='%s is %.40r, which it cannot be' % (key, value))
        row[key] = float(value) if key.startswith('weight') else value
    return row


def new_values(
    values: Any,
    *,
    own_name: str,
    is_top: bool,
    parents: Collection[str],
    many_parents: bool = False,
    complete: bool = True,
) -> dict[str, Any]:
    """Return the columns of a neighbour that is to be made or changed, each looked at (R11).

    :param own_name: of this cell.
    :param is_top: whether this cell is the top of the tree.
    :param parents: the other parents of this cell.
    :param complete: whether it is made, and what is not given takes its default.
    :raises Invalid: a value is not allowed.
    """
    if not isinstance(values, Mapping):
        raise exceptions.Invalid(reason='values is %.60r, not an object' % (values,))
    row = checked(values, complete=complete)
    if complete or 'name' in values:
        row['name'] = _name(values.get('name'), own_name)
    if 'transport_url' in row and not _usable(row['transport_url']):
        raise exceptions.Invalid(
            reason='transport_url has not the form rabbit://user:password@host:port/virtual_host; '
            'signs such as / and @ in a password are to be quoted (%2F, %40)'
        )
    if row.get('is_parent') and is_top:
        raise exceptions.Invalid(
            reason='cell %s is the top of the tree and has no parent' % own_name
        )
    if row.get('is_parent') and parents and not many_parents:
        raise exceptions.Invalid(
            reason='a cell has one parent; %s has %s already'
            % (own_name, ', '.join(sorted(parents)))
        )
    return row


def _name(name: object, own_name: str) -> str:
    try:
        return check_name(name, own_name)
    except ValueError as error:
        raise exceptions.Invalid(reason=str(error)) from None


def check_name(name: object, own_name: str) -> str:
    """Return the name when a neighbour may be called so (R11).

    :raises ValueError: it may not; the text says why.
    """
    found = paths.check_name(name)
    if found == own_name:
        raise ValueError('%s is the name of this cell itself' % own_name)
    return found


def _storable(key: str, value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_URL and value.isprintable()
    if not key.startswith('weight'):
        return True
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def _usable(url: str) -> bool:
    scheme = url.partition('://')[0]
    try:
        return scheme == 'fake' or (scheme in ('rabbit', 'amqp') and first_host(url) is not None)
    except ValueError:
        return False


class _Pairs(dict[str, Any]):
    """An object of a JSON text.

    :ivar twins: keys that it has more than once; the last one counts for the parser.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = collections.Counter(name for name, _ in pairs)
        self.twins = [name for name, number in counts.items() if number > 1]
