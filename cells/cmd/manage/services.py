"""``service``: the services of this cell and of all below it."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from oslo_config import cfg

from cells import exceptions, paths
from cells.cmd.manage import base
from cells.db import models
from cells.db import services as db_services

COMPUTE: Final = db_services.COMPUTE


class Query(base.Command):
    """A command that asks all cells something, and names those that do not answer."""

    def query(self, operation: str, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """Yield the path of each cell and its answer."""
        ops, request = self.app.ops(), self.app.request()
        found = ops.query(request, operation, kwargs, self.app.answer_seconds)
        for one in found['missing']:
            self.warn('%s does not answer: %s', one['cell'], one['reason'])
        for one in sorted(found['answers'], key=lambda one: one['cell']):
            yield one['cell'], one['value']

    def with_cell(self, item: str) -> str:
        """Return ``path@item``; without a path it is of this cell.

        :raises Invalid: what stands before the ``@`` is no path.
        """
        try:
            path, name = paths.split_item(item)
        except ValueError as error:
            raise exceptions.Invalid('%s: %s' % (item, error)) from None
        return paths.with_cell(path or self.app.own_name, name)


class List(Query, base.Lister):
    """List the services of this cell and of all below it.

    A service is up when its cell heard from it within [DEFAULT] service_down_time of this
    configuration. The exit code is 3 when a cell does not answer.

    Example: nova-cells-manage --config-file api.conf service list --binary nova-compute
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--binary', help='only these, such as nova-compute')
        parser.add_argument('--host', help='only those of this host, in whatever cell')
        return parser

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return columns and rows."""
        filters = {
            name: value
            for name, value in (('binary', parsed_args.binary), ('host', parsed_args.host))
            if value
        }
        rows = []
        for cell, services in self.query('service_get_all', filters=filters or None):
            for one in services:
                rows.append(
                    (
                        paths.with_cell(cell, one.id),
                        one.binary,
                        paths.with_cell(cell, one.host),
                        'disabled' if one.disabled else 'enabled',
                        'up' if is_up(self.app.conf, one) else 'down',
                        _text(one, 'last_seen_up'),
                        one.disabled_reason or '',
                    )
                )
        return ('ID', 'Binary', 'Host', 'Status', 'State', 'Last seen', 'Reason'), rows


class _Change(Query):
    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('host', help='cell!path@host, as "service list" has it')
        parser.add_argument(
            '--binary', default=COMPUTE, help='which service of it (default %(default)s)'
        )
        return parser

    def change(self, parsed_args: Any, **values: Any) -> None:
        """Change the service."""
        host = self.with_cell(parsed_args.host)
        try:
            self.app.api().service_update(self.app.request(), host, parsed_args.binary, values)
        except (exceptions.NotFound, exceptions.CellRoutingInconsistency):
            raise exceptions.CellsError(
                'There is no %s on %s: "service list" has the hosts, each with the path of its cell'
                % (parsed_args.binary, host)
            ) from None
        done = 'disabled' if values['disabled'] else 'enabled'
        self.say('%s on %s is %s.', parsed_args.binary, host, done)


class Enable(_Change):
    """Let a host take new instances again.

    Example: nova-cells-manage --config-file api.conf service enable api!region-1@host-17
    """

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        self.change(parsed_args, disabled=False)


class Disable(_Change):
    """Let a host take no new instances; what is on it stays.

    Example: nova-cells-manage --config-file api.conf service disable api!region-1@host-17 \\
      --reason 'a fan is broken'
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--reason', help='why, for those who wonder')
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        self.change(parsed_args, disabled=True, disabled_reason=parsed_args.reason)


class Delete(Query):
    """Forget a service that is gone for ever, with that of a compute host its nodes.

    One that was heard within [DEFAULT] service_down_time is not deleted.

    Example: nova-cells-manage --config-file api.conf service delete api!region-1@3
    """

    def get_parser(self, prog_name: str) -> Any:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        parser.add_argument('id', help='cell!path@id, as "service list" has it')
        return parser

    def take_action(self, parsed_args: Any) -> None:
        """Do it."""
        service_id = self.with_cell(parsed_args.id)
        ops, request = self.app.ops(), self.app.request()
        found = ops.query(request, 'service_get_all', {'filters': None}, self.app.answer_seconds)
        for cell, services in ((one['cell'], one['value']) for one in found['answers']):
            for one in services:
                if paths.with_cell(cell, one.id) == service_id and is_up(self.app.conf, one):
                    raise exceptions.CellsError(
                        '%s on %s is up, and would come back by itself: stop it there first, or '
                        'disable it' % (one.binary, paths.with_cell(cell, one.host))
                    )
        self.app.api().service_delete(request, service_id)
        self.say('Service %s is deleted.', service_id)


def is_up(conf: cfg.ConfigOpts, one: Any) -> bool:
    """Tell whether a service was heard of lately."""
    seen = one.last_seen_up if 'last_seen_up' in one else None
    row: Mapping[str, Any] = {
        'last_seen_up': seen.replace(tzinfo=None) if seen is not None else None,
        'forced_down': 'forced_down' in one and one.forced_down,
    }
    return db_services.is_up(row, conf.service_down_time, models.utcnow())


def _text(one: Any, name: str) -> str:
    value = getattr(one, name) if name in one else None
    return value.isoformat(' ', 'seconds') if isinstance(value, datetime.datetime) else ''
