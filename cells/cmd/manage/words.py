"""How values are written for people."""

from collections.abc import Sequence

from cells import neighbour_sources
from cells.rabbit import DEFAULT_PORT

_UNITS = (('d', 86400.0), ('h', 3600.0), ('min', 60.0))


def duration(seconds: float | None) -> str:
    """Return a length of time as its largest unit that fits, '-' for None."""
    if seconds is None:
        return '-'
    if abs(seconds) < 1:
        return '%.0f ms' % (seconds * 1000)
    for unit, length in _UNITS:
        if abs(seconds) >= 2 * length:
            return '%.0f %s' % (seconds / length, unit)
    return '%.0f s' % seconds if abs(seconds) >= 10 else '%.1f s' % seconds


def yes(value: object) -> str:
    """Return yes or no."""
    return 'yes' if value else 'no'


def brokers(transport_url: str) -> str:
    """Return the brokers of a URL, without users and passwords."""
    try:
        hosts = neighbour_sources.hosts(transport_url)
    except ValueError as error:
        return str(error)
    return ', '.join('%s:%s' % (host.hostname, host.port or DEFAULT_PORT) for host in hosts)


def there(names: Sequence[str]) -> str:
    """Return what there is: "is a", "are a, b", "is none"."""
    return '%s %s' % ('are' if len(names) > 1 else 'is', ', '.join(names) or 'none')


def are(number: int, noun: str) -> str:
    """Return a number with its noun and is or are."""
    return '%s %s' % (count(number, noun), 'is' if number == 1 else 'are')


def count(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s for more than one."""
    return '%d %s%s' % (number, noun, '' if number == 1 else 's')
