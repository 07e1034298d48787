"""What a page of the documentation tells people to type, and a shell to type it into.

Commands stand in ``.. code-block:: console``, after ``$`` or ``#``, with what they print below.
``...`` stands for any text. A block of the class ``again`` has commands that are repeated until
they print what the page shows.
"""

import contextlib
import dataclasses
import os
import pathlib
import queue
import re
import signal
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping

from tests import deploy

BLOCK = re.compile(
    r'^( *)\.\. code-block:: console\n((?:\1 +:.*\n)*)\n((?:(?:\1 +\S.*)?\n)+)', re.MULTILINE
)
HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?")
MARK = '-- this command is over: '


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of a page.

    :ivar output: what it prints, as the page has it; empty when the page does not show it.
    :ivar again: whether it is repeated until it prints that.
    """

    text: str
    output: str
    again: bool

    def printed(self, output: str) -> bool:
        """Tell whether an output is that of the page, but for times and the widths of columns."""
        parts = [re.escape(_compared(part)) for part in self.output.split('...')]
        return not self.output or bool(
            re.fullmatch('.*'.join(parts), _compared(output.strip()), flags=re.DOTALL)
        )


def _compared(text: str) -> str:
    return re.sub(r'[ +-]+', ' ', re.sub(r'\b[0-9.]+ m?s\b', '1 s', text))


def commands(page: pathlib.Path, changes: Mapping[str, str]) -> list[Command]:
    """Return the commands of a page in order.

    :param changes: what is replaced in the page before.
    """
    text = page.read_text()
    for old, new in changes.items():
        assert old in text, '%s has no %s' % (page.name, old)
        text = text.replace(old, new)
    found = []
    for block in BLOCK.finditer(text + '\n'):
        lines = textwrap.dedent(block.group(3)).rstrip().split('\n')
        found += _commands(lines, ':class: again' in block.group(2))
    return found


def _commands(lines: list[str], again: bool) -> Iterator[Command]:
    while lines:
        line = lines.pop(0)
        assert line[:2] in ('$ ', '# '), line
        text = [line[2:]]
        document = HERE_DOCUMENT.search(line)
        while document and text[-1] != document.group(1):
            text.append(lines.pop(0))
        while text[-1].endswith('\\'):
            text.append(lines.pop(0))
        output = []
        while lines and lines[0][:2] not in ('$ ', '# '):
            output.append(lines.pop(0))
        yield Command('\n'.join(text), '\n'.join(output).strip(), again)


class Shell:
    """A shell as a person has one, from which everything that was started goes at the end."""

    def __init__(self, directory: pathlib.Path, **environment: str) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self._bash = subprocess.Popen(
            ['bash', '--norc'],
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            self._lines.put(line)

    def type(self, text: str, seconds: float = 120) -> tuple[int, str]:
        """Type a command and return its exit code and what it printed."""
        assert self._bash.stdin is not None
        self._bash.stdin.write('{ %s\n} </dev/null\necho "%s$?"\n' % (text, MARK))
        self._bash.stdin.flush()
        until, output = time.monotonic() + seconds, ''
        while MARK not in output:
            try:
                output += self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError('it does not end: %s\n%s' % (text, output)) from None
        output, _, code = output.rpartition(MARK)
        return int(code), output

    def close(self) -> None:
        """End the shell and all that it has started, daemons with sessions of their own as well."""
        for pid in [*deploy.descendants(self._bash.pid), self._bash.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._bash.wait()


def follow(shell: Shell, command: Command, seconds: float = 60) -> None:
    """Type a command of a page; it must print what the page shows, or else end well."""
    until = time.monotonic() + seconds
    while True:
        code, output = shell.type(command.text)
        if command.printed(output) and (code == 0 or command.output):
            return
        if not command.again or time.monotonic() > until:
            raise AssertionError(
                '$ %s\nexit code %d, and it printed:\n%s\ninstead of:\n%s'
                % (command.text, code, output, command.output)
            )
        time.sleep(0.5)
