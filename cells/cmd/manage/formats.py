"""CSV for commands that show one thing, which cliff has for lists alone."""

from collections.abc import Sequence
from typing import Any

from cliff.formatters import base, commaseparated


class CommaSeparatedOne(commaseparated.CSVLister, base.SingleFormatter):
    """A line of names, and a line of values."""

    def emit_one(
        self, column_names: Sequence[str], data: Sequence[Any], stdout: Any, parsed_args: Any
    ) -> None:
        """Write them."""
        self.emit_list(column_names, [data], stdout, parsed_args)
