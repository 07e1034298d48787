"""Which errors cross between processes, and under which names.

An error crosses as a record (:class:`cells.messages.Failure`). A record is
turned back into an exception only by the table below; what is not in it
becomes :class:`RemoteFailure`. Tracebacks do not cross, they are in the log
of the cell where the error happened, under the request id (X6).
"""

import inspect
from typing import Any, Final

from cells import exceptions
from cells.messages import Failure

#: The module that errors of the contract claim to come from.
MODULE: Final = 'nova.exception'

_KNOWN: Final[dict[str, type[exceptions.WireError]]] = {
    name: cls
    for name, cls in vars(exceptions).items()
    if inspect.isclass(cls)
    and issubclass(cls, exceptions.WireError)
    and cls is not exceptions.WireError
}

#: What a caller's own mistake in the arguments looks like in a remote cell.
BUILTINS: Final = (ValueError, TypeError, KeyError, AttributeError)
_BUILTINS: Final = {cls.__name__: cls for cls in BUILTINS}


class RemoteFailure(exceptions.WireError):
    """Raised for an error of another cell that has no class here."""

    msg_fmt = '%(name)s in another cell: %(text)s'


class NotServed(RemoteFailure):
    """Raised when a server does not offer a method, or not at the version that was sent (V2)."""

    msg_fmt = 'The other side does not offer this: %(text)s'


#: What a server of RPC answers to a request that it cannot place.
_NOT_SERVED: Final = ('NoSuchMethod', 'UnsupportedVersion')


def failure_of(error: BaseException) -> Failure:
    """Return the record of an error. What is not of the contract shows its class and text only."""
    if isinstance(error, exceptions.WireError):
        text = str(error)
        return Failure(type(error).__name__, MODULE, text, (text,), error.kwargs)
    text = first_line(error)
    return Failure(type(error).__name__, type(error).__module__, text, (text,))


def first_line(error: BaseException) -> str:
    """Return the first line of an error; behind it those of databases show statements (X6)."""
    return str(error).partition('\n')[0]


def rebuild(name: str, text: str, kwargs: Any = None) -> Exception:
    """Return the exception that a class name and a text stand for.

    :param kwargs: the keyword arguments that came with it, kept as attribute.
    """
    name = name.removesuffix('_Remote')
    if name in _NOT_SERVED:
        return NotServed(text=text)
    if name == RemoteFailure.__name__:
        return RemoteFailure(text)  # it says already whose it is
    cls = _KNOWN.get(name)
    if cls is not None:
        extra = (
            {key: value for key, value in kwargs.items() if isinstance(key, str)}
            if isinstance(kwargs, dict)
            else {}
        )
        return cls(text, **extra)
    builtin = _BUILTINS.get(name)
    if builtin is not None:
        return builtin(text)
    return RemoteFailure(name=name, text=text)


def is_callers_fault(failure: Failure) -> bool:
    """Tell whether a failure is for who asked to mend: every cell would say the same."""
    return isinstance(exception_of(failure), exceptions.Invalid | ValueError)


def is_unknown_operation(failure: Failure, operation: str) -> bool:
    """Tell whether a cell answered that it does not know an operation (V2).

    Ours say it by a name of its own; a nova-cells shows what its language says.
    """
    if failure.name == exceptions.CellServiceAPIMethodNotFound.__name__:
        return True
    return failure.name == AttributeError.__name__ and repr(operation) in failure.message


def exception_of(failure: Failure) -> Exception:
    """Return the exception that a record stands for."""
    return rebuild(failure.name, failure.message, failure.kwargs)
