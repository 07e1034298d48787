"""What all commands share: help with an example, errors in one line, exit codes.

A command is a class on :class:`Command`, :class:`Lister` (a table) or :class:`ShowOne`
(one thing), under the entry points ``cells.manage``. Its docstring is its help; what
follows the line "Example:" is shown as it stands. What cannot be done it raises as
:class:`cells.exceptions.CellsError`, with a text that says what to do.
"""

import argparse
import inspect
from typing import Any, Final

import oslo_messaging
from cliff import command, lister, show
from oslo_config import cfg

from cells import exceptions
from cells.client.base import NobodyListens
from cells.cmd.manage import app, shown
from cells.db import engine, migration

#: Exit codes beside 0 (done) and 2 (wrong usage): failed; done, but something is wrong or missing.
FAILED: Final = 1
TROUBLE: Final = 3


#: What a client of the daemon raises when it does not get an answer, or one that says no.
ERRORS: Final = (oslo_messaging.MessagingException, exceptions.CellsError)


class Command(command.Command):
    """A command that prints what it did itself, or nothing."""

    app: app.ManageApp

    #: Set to :data:`TROUBLE` by a command that was done and found something wrong.
    exit_code = 0

    def get_description(self) -> str:
        """Return the docstring without its example."""
        return self._help()[0]

    def get_epilog(self) -> str:
        """Return the example of the docstring."""
        return self._help()[1]

    def get_parser(self, prog_name: str) -> Any:
        """Return the parser of the arguments."""
        parser = super().get_parser(prog_name)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def run(self, parsed_args: Any) -> int:
        """Run it and return the exit code; the program shows an error and makes it 1.

        :raises CellsError: with a text of one line.
        """
        try:
            return super().run(parsed_args) or self.exit_code
        except engine.ERRORS as error:
            reason = self._no_database(error)
        except oslo_messaging.MessagingTimeout as error:
            reason = self._no_answer(str(error))
        except NobodyListens as error:
            reason = (
                '%s: start nova-cells with this configuration, or correct [cells] topic or the '
                'virtual host in [DEFAULT] transport_url' % error
            )
        except oslo_messaging.MessageDeliveryFailure as error:
            reason = self._no_bus(str(error))
        except exceptions.Invalid as error:
            # Without the words with which a client of nova knows it.
            reason = str(error).removeprefix(exceptions.Invalid.msg_fmt % {'reason': ''})
        except (oslo_messaging.RemoteError, cfg.Error, exceptions.CellsError) as error:
            reason = str(error)
        raise exceptions.CellsError(' '.join(reason.split()))

    def say(self, text: str, *args: Any) -> None:
        """Print a line."""
        self.app.stdout.write((text % args if args else text) + '\n')

    def warn(self, text: str, *args: Any) -> None:
        """Print a line beside the output, and make the exit code :data:`TROUBLE`."""
        self.app.stderr.write((text % args if args else text) + '\n')
        self.exit_code = TROUBLE

    def _no_database(self, error: Exception) -> str:
        try:
            if not engine.is_transient(error):
                migration.check(self.app.database())
        except exceptions.SchemaError as found:
            return str(found)
        except engine.ERRORS as another:
            error = another
        return (
            'The database of cell %s cannot be used (%s): start it, or correct [database] '
            'connection' % (self.app.own_name, engine.brief(error))
        )

    def _no_answer(self, error: str) -> str:
        if 'could not be reached' in error:
            return self._no_bus(error)
        return (
            'The daemon of cell %s did not answer within %g s: start nova-cells with this '
            'configuration, see its log, or give it longer with --timeout'
            % (self.app.own_name, self.app.timeout)
        )

    def _no_bus(self, error: str) -> str:
        return (
            'The message bus of cell %s cannot be used (%s): start the broker, or correct '
            '[DEFAULT] transport_url' % (self.app.own_name, error)
        )

    def _help(self) -> tuple[str, str]:
        text, found, example = (inspect.getdoc(type(self)) or '').partition('Example:')
        return text.rstrip(), (found + example).rstrip()


class Lister(Command, lister.Lister):
    """A command that returns columns and rows."""

    def produce_output(self, parsed_args: Any, column_names: Any, data: Any) -> int:
        """Show the rows; what is not known stays empty for people."""
        if not parsed_args.sort_columns:  # which compares them
            data = [tuple(map(shown.known, row)) for row in data]
        return super().produce_output(parsed_args, column_names, data)


class ShowOne(Command, show.ShowOne):
    """A command that returns the names and the values of one thing."""

    def produce_output(self, parsed_args: Any, column_names: Any, data: Any) -> int:
        """Show the values; what is not known stays empty for people."""
        return super().produce_output(parsed_args, column_names, tuple(map(shown.known, data)))
