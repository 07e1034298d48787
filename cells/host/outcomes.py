"""What came of an operation, in the words in which the cell is told."""

from typing import Any

from cells import remote_errors
from cells.host.virt.base import Result


def done(result: Result) -> dict[str, Any]:
    """Return the report of an operation that was carried out."""
    power_state = result.power_state
    return {
        'ok': True,
        'power_state': None if power_state is None else int(power_state),
        'values': dict(result.values),
        'error': None,
    }


def failed(name: str, message: str, power_state: int | None) -> dict[str, Any]:
    """Return the report of an operation that was not, or not wholly, carried out.

    :param name: the class of the error.
    :param power_state: of the machine now, None when there is none.
    """
    return {
        'ok': False,
        'power_state': None if power_state is None else int(power_state),
        'values': {},
        'error': {'type': name, 'message': message},
    }


def failed_by(error: BaseException, power_state: int | None) -> dict[str, Any]:
    """Return the report of an operation that an error ended; the traceback stays here (X6)."""
    return failed(type(error).__name__, remote_errors.first_line(error), power_state)
