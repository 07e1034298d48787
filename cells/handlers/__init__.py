"""What an operation does in the cell that it is for, one module for each subject.

A question's handler takes (context, arguments) and returns a value; a
change's takes (connection, message, arguments) and works in that transaction.
"""

from collections.abc import Callable
from typing import Any

from cells.compute.means import Means
from cells.db import engine
from cells.handlers import (
    actions,
    base,
    builds,
    compare,
    deletions,
    failures,
    hosts,
    instances,
    operators,
    plain_belongings,
    plain_replicas,
    replicas,
    reports,
    services,
    states,
    status,
    sync,
    task_logs,
)
from cells.ownership import Order, Ownership
from cells.state import CellStateManager
from cells.stats import Stats


def handlers(
    database: engine.Database,
    state: CellStateManager,
    host_caller: base.HostCaller,
    *,
    stats: Stats,
    order: Order,
    summary: Callable[[], dict[str, Any]],
    compute_topic: str = 'compute',
    service_down_time: float = 60.0,
    own_name: str = '',
    call_timeout: float = 60.0,
    shelved_offload_time: int = 0,
) -> dict[str, Callable[..., Any]]:
    """Return the handler of every operation, by its name.

    :param order: orders a change in another cell as a part of a transaction.
    :param summary: tells how this cell does, see :class:`cells.status.CellStatus`.
    :param service_down_time: seconds without a report after which a host is down.
    :param own_name: of this cell.
    :param call_timeout: seconds that the answer to an order may take.
    :param shelved_offload_time: see :class:`cells.compute.means.Means`.
    """
    means = Means(
        cell=own_name,
        hosts=host_caller,
        database=database,
        service_down_time=service_down_time,
        call_timeout=call_timeout,
        shelved_offload_time=shelved_offload_time,
    )
    found: dict[str, Callable[..., Any]] = actions.ActionHandlers(means).by_name()
    ownership = Ownership(state=state, stats=stats, order=order)
    for subject in (
        hosts.HostHandlers(
            database,
            host_caller,
            compute_topic=compute_topic,
            service_down_time=service_down_time,
        ),
        builds.BuildHandlers(state),
        compare.CompareHandlers(state=state, stats=stats),
        deletions.DeletionHandlers(state=state, means=means),
        failures.FailureHandlers(state=state, stats=stats),
        instances.InstanceHandlers(database, host_caller, means),
        plain_belongings.PlainBelongingHandlers(ownership=ownership, stats=stats),
        operators.OperatorHandlers(database, state),
        plain_replicas.PlainReplicaHandlers(ownership=ownership, stats=stats),
        replicas.ReplicaHandlers(ownership=ownership, stats=stats),
        reports.ReportHandlers(database, state),
        services.ServiceHandlers(database),
        states.StateHandlers(),
        status.StatusHandlers(summary),
        sync.SyncHandlers(),
        task_logs.TaskLogHandlers(database),
    ):
        for name in subject.OPERATIONS:
            found[name] = getattr(subject, name)
    return found
