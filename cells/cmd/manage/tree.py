"""What commands share that ask all cells, this one and those below it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cells import exceptions, offline
from cells.cmd.manage import base
from cells.handlers import operators

#: Behind an error of a command that asks the daemon.
LOCAL_HELP: Final = '; --local shows what the database of this cell knows by itself'


class TreeCommand(base.Command):
    """A command that asks all cells, or with ``--local`` the database of this one alone."""

    #: Whether the command has ``--local``.
    may_be_local = True

    def get_parser(self, prog_name: str) -> Any:
        """Add what says which cells are asked."""
        parser = super().get_parser(prog_name)
        if self.may_be_local:
            parser.add_argument(
                '--local',
                action='store_true',
                help='ask the database of this cell alone, with its daemon or the others away',
            )
        return parser

    def ask(
        self,
        operation: str,
        args: Mapping[str, Any],
        local: bool = False,
    ) -> list[tuple[str, Any]]:
        """Return what each cell says, with the path to it; those that say nothing are named.

        :param local: ask the database of this cell alone.
        """
        if local:
            return [(self.app.own_name, self._ask_database(operation, args))]
        seconds = self.app.answer_seconds
        answer = self.app.ops().query(self.app.request(), operation, args, seconds)
        self.name_missing(answer['missing'])
        return [(one['cell'], one['value']) for one in answer['answers']]

    def name_missing(self, missing: Iterable[Mapping[str, Any]]) -> None:
        """Say which cells did not answer, and why; that one never will is no trouble."""
        for one in missing:
            if cannot_be_asked(one):
                self.app.stderr.write(
                    'Cell %s cannot be asked: it is a nova-cells, or older than this\n'
                    % one['cell']
                )
            else:
                self.warn('Cell %s did not answer: %s', one['cell'], one['reason'])

    def _ask_database(self, operation: str, args: Mapping[str, Any]) -> Any:
        found = offline.OfflineCell(self.app.conf)
        try:
            found.load()
            handlers = operators.OperatorHandlers(found.database, found.state)
            return getattr(handlers, operation)(self.app.request(), **args)
        finally:
            found.close()

    def _no_answer(self, error: str) -> str:
        return self._with_help(super()._no_answer(error))

    def _no_bus(self, error: str) -> str:
        return self._with_help(super()._no_bus(error))

    def _with_help(self, text: str) -> str:
        return text + LOCAL_HELP if self.may_be_local and LOCAL_HELP not in text else text


def cannot_be_asked(missing: Mapping[str, Any]) -> bool:
    """Tell whether a cell that is missing does not know what it was asked."""
    return bool(missing.get('error') == exceptions.CellServiceAPIMethodNotFound.__name__)


def check_id(what: str, value: str, longest: int = 255) -> str:
    """Return an id that was given.

    :raises Invalid: it cannot be one.
    """
    if not value or len(value) > longest or not value.isprintable():
        raise exceptions.CellsError(
            '%s %.60r cannot be one: it is a text of 1 to %d characters' % (what, value, longest)
        )
    return value
