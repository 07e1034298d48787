"""nova-cells-manage in the process of the tests, which saves its start; all it prints is kept."""

import contextlib
import dataclasses
import io
import json
import logging
import pathlib
from typing import Any

from cells.cmd.manage import app


@dataclasses.dataclass(frozen=True)
class Ran:
    """A command that ran."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return what it printed with ``-f json``."""
        assert self.code in (0, 3), self
        return json.loads(self.out)


class Operator:
    """Types commands, and sees to it that none of them prints a secret.

    :param secrets: passwords that must not show.
    """

    def __init__(self, *secrets: str) -> None:
        self.secrets = set(secrets)
        self.commands: set[str] = set()

    def __call__(self, conf_file: pathlib.Path | str, *words: str, timeout: float = 20) -> Ran:
        """Run a command with the configuration of a cell."""
        argv = ['--config-file', str(conf_file), '--timeout', str(timeout), *words]
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        levels = {name: logging.getLogger(name).level for name in app.LIBRARIES}
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = app.main(argv)
                except SystemExit as ended:
                    code = int(ended.code or 0)
        finally:
            for handler in root.handlers[:]:
                if handler not in handlers:
                    root.removeHandler(handler)
            root.setLevel(level)
            for name, one in levels.items():
                logging.getLogger(name).setLevel(one)
        ran = Ran(words, code, out.getvalue(), err.getvalue())
        self.commands.add(' '.join(word for word in words[:2] if not word.startswith('-')))
        for secret in self.secrets:
            assert secret not in ran.out + ran.err, words
        assert 'Traceback' not in ran.out + ran.err, ran
        return ran

    def done(self, conf_file: pathlib.Path | str, *words: str, timeout: float = 20) -> Ran:
        """Run a command that must succeed."""
        ran = self(conf_file, *words, timeout=timeout)
        assert ran.code == 0, ran
        return ran

    def refused(
        self, conf_file: pathlib.Path | str, *words: str, timeout: float = 20, code: int = 1
    ) -> str:
        """Run a command that must fail, and return the one line in which it says why."""
        ran = self(conf_file, *words, timeout=timeout)
        assert ran.code == code, ran
        lines = ran.err.strip().splitlines()
        if code == 1:
            assert len(lines) == 1, ran
        return lines[-1]
