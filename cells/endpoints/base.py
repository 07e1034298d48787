"""How an endpoint asks the runner, and what it makes of the answers."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cells import context, exceptions, messages, paths, remote_errors
from cells.db import engine
from cells.messaging import MessageRunner
from cells.reports import Reports
from cells.state import CellStateManager

LOG = logging.getLogger(__name__)


class Endpoint:
    """What the parts of :class:`cells.manager.CellsManager` share.

    :param partial_results: see ``[cells] partial_results``.
    """

    def __init__(
        self,
        *,
        runner: MessageRunner,
        state: CellStateManager,
        reports: Reports,
        database: engine.Database,
        partial_results: bool,
    ) -> None:
        self._runner = runner
        self._state = state
        self._reports = reports
        self._database = database
        self._partial_results = partial_results

    @contextlib.contextmanager
    def using_database(self) -> Iterator[engine.Database]:
        """Give the database of this cell.

        :raises DatabaseUnavailable: it does not answer.
        """
        try:
            yield self._database
        except engine.ERRORS as error:
            if not engine.is_transient(error):
                raise
            raise exceptions.DatabaseUnavailable(cell_name=self._state.topology.own_name) from None

    def ask(
        self,
        ctxt: context.RequestContext,
        operation: str,
        target: paths.CellPath,
        kwargs: Mapping[str, Any],
    ) -> messages.Response:
        """Ask one cell and return its answer.

        :raises WireError: what the cell answered, or why it did not.
        """
        response = self._runner.call(ctxt, operation, target, kwargs)
        if response.failure is not None:
            raise remote_errors.exception_of(response.failure)
        return response

    def ask_all(
        self, ctxt: context.RequestContext, operation: str, kwargs: Mapping[str, Any]
    ) -> list[messages.Response]:
        """Ask all cells on the operation's side and return the answers that came.

        :raises WireError: no cell takes the arguments; or one is missing and
            ``partial_results`` is off.
        """
        responses = self._runner.broadcast(ctxt, operation, kwargs)
        return self.answers(ctxt, operation, responses)

    def answers(
        self,
        ctxt: context.RequestContext,
        operation: str,
        responses: Sequence[messages.Response],
    ) -> list[messages.Response]:
        """Return the answers of a listing; the contract has no place for what is missing.

        What a single cell calls a fault of the caller does not cost the others their answers
        (T3); it is one when no cell has an answer.
        """
        found = [response for response in responses if response.failure is None]
        for response in responses:
            if response.failure is None:
                continue
            if not self._partial_results or not (
                found or not remote_errors.is_callers_fault(response.failure)
            ):
                raise remote_errors.exception_of(response.failure)
            LOG.warning(
                '%s is without cell %s (request %s): %s',
                operation,
                response.cell_name,
                ctxt.request_id,
                response.failure.message,
            )
        return found


def cell_path(name: object) -> paths.CellPath:
    """Return the path that a caller names a cell by.

    :raises CellRoutingInconsistency: it is not one.
    """
    try:
        return paths.CellPath.parse(name)
    except ValueError as error:
        raise exceptions.CellRoutingInconsistency(reason=str(error)) from None


def cell_and_item(text: object, what: str) -> tuple[paths.CellPath, str]:
    """Split ``cell!path@item``, the name of something in a cell (R14).

    :param what: what the caller calls it.
    :raises CellRoutingInconsistency: it names no cell, or no item.
    """
    path, item = None, ''
    reason = 'it names no cell'
    try:
        if isinstance(text, str):
            path, item = paths.split_item(text)
    except ValueError as error:
        reason = str(error)
    if path is None or not item:
        raise exceptions.CellRoutingInconsistency(
            reason='%s is %.120r, not of the form cell!path@item: %s' % (what, text, reason)
        )
    return path, item
