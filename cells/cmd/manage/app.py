"""The program: reads the configuration, and gives commands the database and clients of the cell."""

import argparse
import difflib
import logging
import sys
from importlib import metadata
from typing import Any, Final, TypeVar

from cliff import app, command, commandmanager
from oslo_config import cfg

from cells.cmd import concurrency

concurrency.hush()  # before what follows imports eventlet

from cells import configured, context, exceptions, rpcapi  # noqa: E402
from cells.client import base as client_base  # noqa: E402
from cells.cmd.manage import urls  # noqa: E402
from cells.db import engine  # noqa: E402

NAMESPACE: Final = 'cells.manage'
#: Seconds that the daemon of the cell gets to answer.
TIMEOUT: Final = 20.0  # of which 5 are for the transport
#: Loggers of libraries; what goes wrong in them a command says in its own line.
LIBRARIES: Final = ('alembic', 'amqp', 'kombu', 'oslo', 'oslo_messaging', 'stevedore')

_Client = TypeVar('_Client', bound=client_base.Client)


class ManageApp(app.App):
    """The program: reads the configuration before any command runs."""

    def __init__(self) -> None:
        super().__init__(
            description='Manage one cell: its database, its neighbours, what happens in it and '
            'in the cells below. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but '
            'something is wrong or missing.',
            version=metadata.version('cells'),
            command_manager=commandmanager.CommandManager(NAMESPACE),
            deferred_help=True,
        )
        self.conf = cfg.ConfigOpts()
        self._database: engine.Database | None = None
        self._clients: list[client_base.Client] = []

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: Any = None
    ) -> Any:
        """Add the options of a configuration."""
        # Options of commands must not be taken for beginnings of these.
        kwargs = {**(argparse_kwargs or {}), 'allow_abbrev': False}
        parser = super().build_option_parser(description, version, kwargs)
        urls.hide_in_errors(parser)
        parser.add_argument(
            '--config-file',
            action='append',
            default=[],
            metavar='PATH',
            help='configuration of the cell; may be given several times',
        )
        parser.add_argument(
            '--config-dir',
            action='append',
            default=[],
            metavar='DIR',
            help='directory with configurations of the cell; may be given several times',
        )
        parser.add_argument(
            '--timeout',
            type=_seconds,
            default=TIMEOUT,
            metavar='SECONDS',
            help='how long the daemon of the cell gets to answer, 1 to 3600 (default %(default)s)',
        )
        return parser

    def initialize_app(self, argv: list[str]) -> None:
        """Read the configuration.

        :raises ConfigurationError: a value cannot be one.
        """
        if self.options.verbose_level < 2:
            for name in LIBRARIES:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            logging.getLogger('cells').setLevel(logging.WARNING)
        if not argv:
            self.options.deferred_help = True  # no shell of its own
        configured.prepare(self.conf)
        files = [word for path in self.options.config_file for word in ('--config-file', path)]
        dirs = [word for path in self.options.config_dir for word in ('--config-dir', path)]
        self.conf([*files, *dirs], project='cells', prog='nova-cells')

    def run_subcommand(self, argv: list[str]) -> int:
        """Run a command and return its exit code; 2 for words that are none."""
        helped = argv[:1] == ['help']
        asked = [word for word in argv[1:] if not word.startswith('-')] if helped else argv
        try:
            if asked:
                self.command_manager.find_command(list(asked))
        except ValueError:
            meant = self._meant(asked)
            if helped and any(name.startswith(asked[0]) for name in meant):
                return super().run_subcommand(argv)  # which lists them
            typed = urls.without_passwords(' '.join(asked))
            self.stderr.write('%s is no command of nova-cells-manage.' % typed)
            if meant:
                self.stderr.write(' Did you mean: %s?' % ', '.join(meant))
            self.stderr.write(' All are listed by: nova-cells-manage --help\n')
            return 2
        return super().run_subcommand(argv)

    def prepare_to_run_command(self, cmd: Any) -> None:
        """Have no command repeat a password that was typed, be it one of cliff."""
        make = cmd.get_parser

        def hidden(prog_name: str) -> Any:
            parser = make(prog_name)
            urls.hide_in_errors(parser)
            return parser

        cmd.get_parser = hidden

    def _meant(self, words: list[str]) -> list[str]:
        """Return commands that are like what was typed, or all that begin with it."""
        names = sorted(name for name, _ in self.command_manager)
        begun = [name for name in names if name.startswith(' '.join(words))]
        close = difflib.get_close_matches(' '.join(words[:2]), names, n=3)
        of_subject = [name for name in names if name.startswith(words[0])]
        alike = difflib.get_close_matches(words[0], names, n=3)
        return begun or close or of_subject or alike

    @property
    def own_name(self) -> str:
        """The name of the cell."""
        return str(self.conf.cells.name)

    @property
    def timeout(self) -> float:
        """Seconds that the daemon of the cell gets to answer."""
        return float(self.options.timeout)

    @property
    def answer_seconds(self) -> int:
        """Seconds that other cells get, so that the daemon can answer within its own."""
        return max(1, int(self._call_timeout))

    def database(self) -> engine.Database:
        """Return the database of the cell."""
        if self._database is None:
            self._database = engine.Database(configured.connection(self.conf))
        return self._database

    def api(self) -> rpcapi.CellsAPI:
        """Return a client of the cell; the first call connects."""
        return self._kept(
            rpcapi.CellsAPI(
                self._transport(), topic=self.conf.cells.topic, call_timeout=self._call_timeout
            )
        )

    def ops(self) -> rpcapi.OpsAPI:
        """Return an operator's client of the cell; the first call connects."""
        return self._kept(
            rpcapi.OpsAPI(
                self._transport(), topic=self.conf.cells.topic, call_timeout=self._call_timeout
            )
        )

    def records(self) -> rpcapi.InstancesAPI:
        """Return a client of the records of instances; the first call connects."""
        return self._kept(
            rpcapi.InstancesAPI(
                self._transport(), topic=self.conf.cells.topic, call_timeout=self._call_timeout
            )
        )

    @staticmethod
    def request(read_deleted: str = 'no') -> context.RequestContext:
        """Return the context of a new request of an operator."""
        return context.RequestContext(
            'nova-cells-manage', None, is_admin=True, roles=['admin'], read_deleted=read_deleted
        )

    def clean_up(self, cmd: command.Command, result: int, err: BaseException | None) -> None:
        """Close what the command used.

        A connection that failed is left: closing it could wait for the broker once more.
        """
        if err is None or isinstance(err, exceptions.WireError):
            for client in self._clients:
                client.close()
        if self._database is not None:
            self._database.dispose()

    @property
    def _call_timeout(self) -> float:
        return self.timeout - client_base.TRANSPORT_SECONDS  # which a client adds again

    def _transport(self) -> Any:
        return client_base.transport_of(self.conf)

    def _kept(self, client: _Client) -> _Client:
        self._clients.append(client)
        return client


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 3600:
        raise argparse.ArgumentTypeError('%r is not a number of seconds from 1 to 3600' % text)
    return value


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return ManageApp().run(sys.argv[1:] if argv is None else argv)
