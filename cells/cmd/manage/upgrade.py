"""``upgrade check``: whether this version can be started with what is there (oslo.upgradecheck)."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from oslo_upgradecheck import upgradecheck

from cells import exceptions, rabbit, sightings
from cells.cmd import checks, concurrency, option_names, option_values
from cells.cmd.manage import app, base, neighbours
from cells.db import engine, migration
from cells.db import neighbours as db_neighbours

Code = upgradecheck.Code
Result = upgradecheck.Result


class UpgradeChecks(upgradecheck.UpgradeCommands):
    """The checks, each on its own: what one finds does not keep the others from looking."""

    def __init__(self, program: app.ManageApp) -> None:
        super().__init__()
        self._app = program
        self._brokers: list[rabbit.Broker] | None = None

    def schema(self) -> Result:
        """Look whether the schema is as new as this version."""
        database = self._app.database()
        try:
            migration.check(database)
        except exceptions.SchemaError as error:
            return Result(Code.FAILURE, str(error))
        return Result(Code.SUCCESS, 'revision %s' % migration.version(database))

    def options(self) -> Result:
        """Look at the configuration."""
        wrong = list(option_values.wrong(self._app.conf))
        for check in () if wrong else checks.SUBJECTS:
            try:
                check(self._app.conf)
            except exceptions.ConfigurationError as error:
                wrong.append(str(error))
        if wrong:
            return Result(Code.FAILURE, '; '.join(wrong))
        files = option_names.files_of(self._app.conf)
        unread = option_names.unread(files)
        if unread:
            names = ', '.join('[%s] %s' % (one.group, one.name) for one in unread)
            return Result(
                Code.WARNING, 'nobody reads %s; see "nova-cells-manage config validate"' % names
            )
        return Result(Code.SUCCESS, ', '.join(files))

    def message_bus(self) -> Result:
        """Look whether the brokers of this cell can be used."""
        found = self._found()
        bad = ['%s: %s' % (one.address, one.error) for one in found if one.error]
        if bad:
            code = Code.FAILURE if len(bad) == len(found) else Code.WARNING
            return Result(code, '; '.join(bad))
        return Result(
            Code.SUCCESS, ', '.join('%s: RabbitMQ %s' % (one.address, one.version) for one in found)
        )

    def queue_types(self) -> Result:
        """Look whether queues that are there have the type that is configured."""
        good = [one for one in self._found() if not one.error]
        if not good:
            return Result(Code.WARNING, 'cannot be known: no broker can be used')
        if good[0].conflicts:
            return Result(
                Code.FAILURE,
                '%s: not of the type of [cells] queue_type = %s. Stop the daemons of the cell, '
                'delete these queues when they are empty, or set queue_type to what is there'
                % (', '.join(good[0].conflicts), self._app.conf.cells.queue_type),
            )
        there = sorted(name for name, number in good[0].consumers.items() if number is not None)
        return Result(Code.SUCCESS, ', '.join(there) or 'no queues yet')

    def neighbours(self) -> Result:
        """Look what the neighbours speak."""
        seen = db_neighbours.reports_get_all(self._app.database())
        rows = neighbours.rows_of(self._app)
        plain = [row['name'] for row in rows if seen.get(row['name'], {}).get('protocol') == 0]
        unheard = [row['name'] for row in rows if not seen.get(row['name'], {}).get('last_seen')]
        if unheard:
            return Result(
                Code.WARNING,
                'nothing was ever heard from %s: is it up, and does it know this cell? '
                '"cell ping" asks it' % ', '.join(unheard),
            )
        release = self._app.conf.cells.object_release
        if plain:
            return Result(
                Code.SUCCESS,
                '%s: nova-cells; [cells] object_release = %s must be no newer than the oldest '
                'of them' % (', '.join(plain), release),
            )
        return Result(Code.SUCCESS, 'all of our kind' if rows else 'none')

    def clocks(self) -> Result:
        """Look whether clocks agree."""
        seen = db_neighbours.reports_get_all(self._app.database())
        off = [
            '%s by %+.1f s' % (name, row['clock_offset'])
            for name, row in sorted(seen.items())
            if abs(row['clock_offset'] or 0.0) > sightings.OFFSET_ALARM
        ]
        if off:
            return Result(Code.WARNING, 'off: %s; mind NTP there and here' % ', '.join(off))
        return Result(Code.SUCCESS)

    def concurrency(self) -> Result:
        """Look whether the driver of the database fits how the daemon runs."""
        chosen = os.environ.get(concurrency.VARIABLE, 'eventlet').strip().lower()
        found = checks.advice(self._app.conf, self._app.conf.cells.workers, chosen)
        if found:
            return Result(Code.WARNING, '; '.join(found))
        return Result(Code.SUCCESS, chosen)

    def _found(self) -> list[rabbit.Broker]:
        if self._brokers is None:
            options = self._app.conf.cells
            base_name, kind = options.rpc_driver_queue_base, options.queue_type
            types = {
                options.topic: kind,
                '%s.targeted' % base_name: kind,
                '%s.broadcast' % base_name: kind,
                '%s.response' % base_name: 'classic',
            }
            self._brokers = rabbit.brokers(
                self._app.conf,
                self._app.conf.transport_url or 'rabbit://',
                seconds=min(neighbours.BROKER_SECONDS, self._app.timeout),
                queues=tuple(types),
                queue_types=types,
            )
        return self._brokers


CHECKS: Final[tuple[tuple[str, Callable[[UpgradeChecks], Result]], ...]] = (
    ('Schema of the database', UpgradeChecks.schema),
    ('Options', UpgradeChecks.options),
    ('Message bus', UpgradeChecks.message_bus),
    ('Types of queues', UpgradeChecks.queue_types),
    ('Protocol of the neighbours', UpgradeChecks.neighbours),
    ('Clocks', UpgradeChecks.clocks),
    ('Concurrency', UpgradeChecks.concurrency),
)


class Check(base.Lister):
    """Check whether this version can be started with the database, bus and neighbours there are.

    Run it after the installation of a new version, before the daemons are started again. The exit
    code is 0 when all is well, 1 for a warning, 2 for what will not work.

    Example: nova-cells-manage --config-file cells.conf upgrade check -f json
    """

    def take_action(self, parsed_args: Any) -> tuple[Sequence[str], list[tuple[str, str, str]]]:
        """Return columns and rows."""
        commands = UpgradeChecks(self.app)
        rows = []
        for name, check in CHECKS:
            try:
                result = check(commands)
            except engine.ERRORS as error:
                result = Result(
                    Code.FAILURE, 'the database cannot be used: %s' % engine.brief(error)
                )
            except (exceptions.CellsError, ValueError) as error:
                result = Result(Code.FAILURE, str(error))
            self.exit_code = max(self.exit_code, int(result.code))
            rows.append((name, result.code.name.lower(), result.details or ''))
        return ('Check', 'Result', 'Details'), rows
