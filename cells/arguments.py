"""What may be given for an argument: a value that does not fit is the caller's error.

Each function names the argument in its error, and shows what was given.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from cells import exceptions

LONGEST_TEXT: Final = 255
LONGEST_SECRET: Final = 4096
LARGEST_ID: Final = 2**63 - 1
HIGHEST_PORT: Final = 65535


def text(name: str, value: object, longest: int = LONGEST_TEXT, empty: bool = False) -> str:
    """Return a text that every database takes.

    :param longest: characters that it may have.
    :param empty: whether it may have none.
    :raises Invalid: it is something else.
    """
    if not isinstance(value, str):
        raise _invalid(name, value, 'a text')
    if not value and not empty:
        raise _invalid(name, value, 'a text that is not empty')
    if len(value) > longest:
        raise _invalid(name, value, 'a text of at most %d characters' % longest)
    if '\0' in value or any('\ud800' <= sign <= '\udfff' for sign in value):
        raise _invalid(name, value, 'a text that can be stored')
    return value


def number(name: str, value: object, least: int = 0, most: int = LARGEST_ID) -> int:
    """Return a whole number.

    :raises Invalid: it is something else, or not from ``least`` to ``most``.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _invalid(name, value, 'a whole number from %d to %d' % (least, most))
    return value


def boolean(name: str, value: object) -> bool:
    """Return true or false.

    :raises Invalid: it is something else.
    """
    if not isinstance(value, bool):
        raise _invalid(name, value, 'true or false')
    return value


def word(name: str, value: object, words: Collection[str]) -> str:
    """Return one of some words.

    :raises Invalid: it is something else.
    """
    if not isinstance(value, str) or value not in words:
        raise _invalid(name, value, 'one of %s' % ', '.join(words))
    return value


def secret(name: str, value: object, longest: int = LONGEST_SECRET) -> str | None:
    """Return a password, or None for none.

    :raises Invalid: it is something else, which is not shown.
    """
    if value is None:
        return None
    try:
        return text(name, value, longest=longest, empty=True)
    except exceptions.Invalid:
        raise exceptions.Invalid(
            reason='%s is not a text of at most %d characters that can be stored' % (name, longest)
        ) from None


def sequence(name: str, value: object) -> list[Any]:
    """Return a list.

    :raises Invalid: it is something else.
    """
    if not isinstance(value, list | tuple):
        raise _invalid(name, value, 'a list')
    return list(value)


def port(name: str, value: object) -> int | str:
    """Return the port of a console, as the number or the text of digits that it is given as.

    :raises Invalid: it is something else.
    """
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5
    number(name, int(str(value)) if digits else value, 1, HIGHEST_PORT)
    assert isinstance(value, int | str)
    return value


def mapping(name: str, value: object) -> dict[str, Any]:
    """Return an object with texts as keys.

    :raises Invalid: it is something else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _invalid(name, value, 'an object')
    return dict(value)


def _invalid(name: str, value: object, wanted: str) -> exceptions.Invalid:
    return exceptions.Invalid(reason='%s is %s, not %s' % (name, _shown(value), wanted))


def _shown(value: object) -> str:
    # A lone surrogate cannot be written into an answer or a log.
    return ('%.80r' % (value,)).encode('utf-8', 'backslashreplace').decode()
