"""What agents report of their hosts: service and compute nodes in one transaction."""

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cells import exceptions
from cells.db import changes, compute_nodes, engine, models, services

_COLUMNS = models.Service.__table__.c

#: How the reason begins for which an agent's service is disabled by its own flags. Another
#: reason is an operator's, and stays.
AUTO: Final = 'AUTO: '


@dataclasses.dataclass(frozen=True, slots=True)
class HostReport:
    """A report.

    :ivar machine_id: tells this machine from others that report under its name.
    :ivar nodes: values by column of ``compute_nodes``.
    :ivar unwilling: why the host takes no instances; None when it does.
    """

    host: str
    binary: str
    topic: str
    machine_id: str
    nodes: Sequence[Mapping[str, Any]]
    unwilling: str | None


def host_report(database: engine.Database, report: HostReport, down_after: float) -> None:
    """Note that a host lives, and what it has.

    :param down_after: seconds without a report after which a host is down.
    :raises HostNameInUse: another machine of this name is not down.
    """
    if _write(database, report, down_after):
        return
    # In a transaction of its own: on MariaDB, who has looked for a row that is not there
    # holds up the others that are about to make theirs.
    with database.write() as connection:
        services.service_insert_new(connection, report.host, report.binary, report.topic)
    _write(database, report, down_after)


def _write(database: engine.Database, report: HostReport, down_after: float) -> bool:
    """Write a report; False when its service is not there yet."""
    with database.write() as connection:
        # The lock comes first: what is read after it is what the last report has left.
        row = services.service_lock(connection, report.host, report.binary)
        if row is None:
            return False
        now = models.utcnow()
        if row['machine_id'] not in (None, report.machine_id) and row['last_seen_up']:
            silent = (now - row['last_seen_up']).total_seconds()
            if silent <= down_after:
                raise exceptions.HostNameInUse(host=report.host, seconds=max(0, round(silent)))
        willing = _willing(row, report.unwilling)
        connection.execute(
            sa.update(models.Service)
            .where(_COLUMNS.id == row['id'])
            .values(
                **willing,
                uuid=row['uuid'] or str(uuid.uuid4()),
                topic=report.topic,
                machine_id=report.machine_id,
                report_count=_COLUMNS.report_count + 1,
                last_seen_up=now,
                updated_at=now,
            )
        )
        matters = compute_nodes.compute_nodes_replace(
            connection, report.host, row['id'], report.nodes
        )
        if matters or willing or not services.is_up(row, down_after, now):
            changes.bump(connection, changes.HOSTS)
        return True


def _willing(row: Mapping[str, Any], unwilling: str | None) -> dict[str, Any]:
    """Return what changes of ``disabled`` and its reason."""
    reason = row['disabled_reason'] or ''
    if row['disabled'] and not reason.startswith(AUTO):
        return {}
    if unwilling is None:
        return {'disabled': False, 'disabled_reason': None} if row['disabled'] else {}
    wanted = AUTO + unwilling
    if row['disabled'] and reason == wanted:
        return {}
    return {'disabled': True, 'disabled_reason': wanted}
