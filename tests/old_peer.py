"""The process that plays old cells (:mod:`tests.old_cell`), as a test holds it."""

import itertools
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]


class OldError(Exception):
    """Raised for what failed in an old cell, as its caller there sees it.

    :ivar name: of its class.
    :ivar kwargs: what it was made with.
    """

    def __init__(self, name: str, text: str, kwargs: dict[str, Any]) -> None:
        super().__init__('%s: %s' % (name, text))
        self.name = name
        self.text = text
        self.kwargs = kwargs


class OldPeer:
    """Some old cells in a process of their own.

    :param cells: their settings, see :class:`tests.old_cell.cell.Cell`.
    """

    def __init__(self, directory: pathlib.Path, cells: list[dict[str, Any]]) -> None:
        self._settings = directory / 'old_cells.json'
        self._settings.write_text(json.dumps(cells))
        self.log_file = directory / 'old_cells.log'
        self._numbers = itertools.count()
        self._answers: dict[Any, queue.Queue[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process and wait until the cells listen."""
        ready = self._answers.setdefault(None, queue.Queue())
        with open(self.log_file, 'ab') as log:
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'tests.old_cell', str(self._settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, 'PYTHONWARNINGS': 'ignore'},
                start_new_session=True,
            )
        threading.Thread(target=self._read, daemon=True).start()
        assert ready.get(timeout=60).get('ready'), self.log_file.read_text()

    def stop(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def do(self, cell: str, what: str, **args: Any) -> Any:
        """Have a cell do something, and return what came of it.

        :raises OldError: it failed.
        """
        number = next(self._numbers)
        answer: queue.Queue[dict[str, Any]] = queue.Queue()
        wanted = {'id': number, 'cell': cell, 'do': what, 'args': args}
        assert self._process is not None
        assert self._process.stdin is not None
        with self._lock:
            self._answers[number] = answer
            self._process.stdin.write(json.dumps(wanted) + '\n')
            self._process.stdin.flush()
        found = answer.get(timeout=60)
        if 'error' in found:
            raise OldError(*found['error'])
        return found['value']

    def state(self, cell: str) -> Any:
        """Return what a cell knows and what it has lost."""
        return self.do(cell, 'state')

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = json.loads(line)
            with self._lock:
                answer = self._answers.pop(found.get('id'))
            answer.put(found)
        with self._lock:
            left, self._answers = self._answers, {}
        for answer in left.values():
            answer.put({'error': ['OldCells', 'the process has ended', {}]})
