"""What workers say of themselves, in a file each, for the process that shows it.

A worker that is wedged says nothing any more, which is seen from outside: its file gets old. So
no worker is asked, and none that hangs can hold up who looks. Ages are measured on the
monotonic clock, which all processes of a machine share until it starts anew.
"""

import json
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

LOG = logging.getLogger(__name__)

#: Seconds between two writings.
INTERVAL: Final = 1.0
SUFFIX: Final = '.vitals.json'
#: What a worker is doing that does what it is there for.
SERVES: Final = 'serves'
#: Seconds without the message bus that are worth a word.
BUS_SECONDS: Final = 10.0


class Publisher:
    """Writes for one worker, in a thread of its own.

    :param name: of this worker, unique among those of the directory.
    :param read: returns what is to be said; must not wait.
    """

    def __init__(self, state_path: str, name: str, read: Callable[[], Mapping[str, Any]]) -> None:
        self._path = pathlib.Path(state_path) / (name + SUFFIX)
        self._read = read
        self._in_trouble = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='vitals', daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and say nothing any more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            try:
                self._write()
            except OSError as error:
                if not self._in_trouble:
                    LOG.error('%s cannot be written, going on: %s', self._path, error)
                self._in_trouble = True
            except Exception:  # noqa: BLE001 - a worker that does not say that it lives seems dead
                LOG.exception('How this worker does cannot be told, going on')
            else:
                self._in_trouble = False
            if self._stopped.wait(INTERVAL):
                return

    def _write(self) -> None:
        values = {**self._read(), 'master': os.getppid(), 'at': time.monotonic()}
        fresh = self._path.with_suffix('.new')
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(values))
        fresh.replace(self._path)


def read(state_path: str, master: int) -> list[dict[str, Any]]:
    """Return what the workers of a daemon say of themselves, by their names.

    :param master: the process whose workers they are; files of others are left out.
    :returns: what they gave, and ``age``, the seconds since they said it.
    """
    found = []
    for path in sorted(pathlib.Path(state_path).glob('*' + SUFFIX)):
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # it ends just now, or a machine has lost its power
        if values.get('master') == master and _runs(values.get('pid')):
            values['age'] = max(0.0, time.monotonic() - values['at'])
            found.append(values)
    return found


def _runs(pid: Any) -> bool:
    """Tell whether a process is there, and is not one that has ended and was not noticed."""
    try:
        status = pathlib.Path('/proc/%d/stat' % pid).read_text()
    except (OSError, TypeError):
        return False
    return status.rpartition(')')[2].split()[0] not in 'ZX'
