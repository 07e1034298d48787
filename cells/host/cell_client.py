"""How an agent reaches its cell: namespace ``cells.host`` on the bus of the cell."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import oslo_messaging

from cells import context, exceptions, rabbit, remote_errors, rpc, versions

#: How often a message is offered again to a broker that is away, before it counts as failed.
SEND_RETRIES: Final = 1
#: The version that brought what an agent tells of operations.
OPERATIONS_VERSION: Final = '1.1'


class CellClient:
    """The cell, as an agent sees it. Any thread may use it.

    :param transport: to the bus of the cell.
    :param topic: ``[cells] topic``.
    :param machine_id: tells this machine from others of its name.
    :param timeout: seconds that an answer is waited for.
    """

    def __init__(
        self, transport: Any, topic: str, *, host: str, machine_id: str, timeout: float
    ) -> None:
        self._transport = transport
        self._host = host
        self._machine_id = machine_id
        self._timeout = timeout
        self._client = rpc.get_client(
            transport,
            topic,
            version=versions.HOST_VERSION,
            namespace=versions.HOST_NAMESPACE,
            timeout=timeout,
            retry=SEND_RETRIES,
        )

    def report(self, values: Mapping[str, Any]) -> None:
        """Tell that the host lives, and what it has.

        :raises NoAnswer: the cell does not take it.
        """
        self._call('1.0', 'report', None, machine_id=self._machine_id, **values)

    def done(self, op_id: str, result: Mapping[str, Any], request_id: str | None) -> None:
        """Tell what came of an operation; returns when the cell has it.

        :param result: see :mod:`cells.host.outcomes`.
        :raises NoAnswer: the cell does not take it.
        """
        self._call(
            OPERATIONS_VERSION,
            'done',
            request_id,
            machine_id=self._machine_id,
            op_id=op_id,
            result=dict(result),
        )

    def reconcile(
        self, operations: Sequence[str], instances: Mapping[str, int]
    ) -> tuple[list[str], list[str]]:
        """Compare with the cell; return the operations to cancel and the instances to destroy.

        :param operations: what it has ordered and has no result of.
        :param instances: what is on this host, with its power state.
        :raises NoAnswer: the cell does not take it, or its answer is none.
        """
        answer = self._call(
            OPERATIONS_VERSION,
            'reconcile',
            None,
            machine_id=self._machine_id,
            operations=list(operations),
            instances=dict(instances),
        )
        return _texts(answer, 'cancel'), _texts(answer, 'destroy')

    def progress(self, op_id: str, task_state: str, percent: int, request_id: str | None) -> None:
        """Tell how far an operation is.

        :raises NoAnswer: the cell does not take it.
        """
        self._call(
            OPERATIONS_VERSION,
            'progress',
            request_id,
            op_id=op_id,
            task_state=task_state,
            progress=percent,
        )

    def _call(self, version: str, method: str, request_id: str | None, **kwargs: Any) -> Any:
        client = self._client.prepare(version=version)
        ctxt = context.RequestContext(is_admin=True, request_id=request_id)
        try:
            if not rabbit.warm_up(self._transport, self._timeout):
                raise _no_answer('bus', 'the message bus cannot be reached')
            return client.call(ctxt, method, host=self._host, **kwargs)
        except oslo_messaging.RemoteError as error:
            found = remote_errors.rebuild(error.exc_type, error.value)
            raise _no_answer(type(found).__name__, str(found)) from None
        except exceptions.WireError as error:  # within a process it comes as it is
            raise _no_answer(type(error).__name__, str(error)) from None
        except oslo_messaging.MessagingTimeout:
            raise _no_answer('silence', 'no answer within %.1f seconds' % self._timeout) from None
        except rpc.SEND_ERRORS as error:
            raise _no_answer('bus', '%s: %s' % (type(error).__name__, error)) from None


def _no_answer(kind: str, reason: str) -> exceptions.NoAnswer:
    return exceptions.NoAnswer(kind=kind, reason=reason)


def _texts(answer: object, name: str) -> list[str]:
    found = answer.get(name, []) if isinstance(answer, Mapping) else None
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise _no_answer('rubbish', 'reconcile was answered by %.100s' % ascii(answer))
    return list(found)
