"""The Guru Meditation report: everything about a process, when it is sent SIGUSR2.

It goes to where the process writes its errors, or into a file of a directory. It
has the threads and what they are at, the configuration without secrets, and for a worker its
neighbours, what it waits for and its journal.

A process that is wedged makes none. SIGABRT ends it, and the interpreter itself writes the stacks
of its threads: nothing for one that is well, whose threads go on meanwhile and may crash it.
"""

import datetime
import faulthandler
import functools
import json
import logging
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, Final

import psutil
import tenacity
from oslo_config import cfg
from oslo_reports import report
from oslo_reports.generators import conf as conf_generator
from oslo_reports.generators import process as process_generator
from oslo_reports.generators import threading as thread_generator

LOG = logging.getLogger(__name__)

#: Seconds until a process notices that it was asked.
LOOK_SECONDS: Final = 0.5

#: By title, what returns the values of a section; must not wait for long.
Sections = Mapping[str, Callable[[], Any]]

#: At the processes below this one, each with those that there are then, and seconds between.
ATTEMPTS: Final = 5
BETWEEN_SECONDS: Final = 0.2


class Meditation:
    """Reports about this process, and about each that is forked from it.

    :param prog: the name of the program.
    :param conf: is shown, without secrets.
    :param directory: for the reports; None for standard error.
    """

    def __init__(self, prog: str, conf: cfg.ConfigOpts, directory: str | None) -> None:
        self._prog = prog
        self._conf = conf
        self._directory = directory
        self._asked = False

    def listen(self) -> None:
        """Report when the signal comes; call in the main thread, before anything is forked."""
        signal.signal(signal.SIGUSR2, self._on_signal)
        try:
            faulthandler.enable()
        except (AttributeError, RuntimeError, ValueError, OSError):
            LOG.debug('Standard error is no file: a crash will show no stacks')
        self.watch({})

    def watch(self, sections: Sections) -> None:
        """Have these sections in the reports of this process; call after the fork.

        They are made in a thread of their own: one that is interrupted may hold their locks.
        """
        threading.Thread(target=self._run, args=(sections,), name='report', daemon=True).start()

    def _on_signal(self, number: int, frame: Any) -> None:
        self._asked = True

    def _run(self, sections: Sections) -> None:
        pause = threading.Event()
        while True:
            pause.wait(LOOK_SECONDS)
            if self._asked:
                self._asked = False
                try:
                    self.write(sections)
                except Exception:  # noqa: BLE001 - a report that fails must cost nothing else
                    LOG.exception('A report of this process cannot be made')

    def write(self, sections: Sections) -> None:
        """Write the report to where it goes."""
        text = self.text(sections)
        if self._directory:
            now = datetime.datetime.now().strftime('%Y%m%d%H%M%S')
            name = '%s_gurumeditation_%s_%d' % (self._prog, now, os.getpid())
            try:
                (pathlib.Path(self._directory) / name).write_text(text)
            except OSError as error:
                sys.stderr.write('A report cannot be written: %s\n' % error)
            else:
                return
        sys.stderr.write(text + '\n')
        sys.stderr.flush()

    def text(self, sections: Sections) -> str:
        """Return the report."""
        found = report.TextReport('Guru Meditation')
        version = '%s %s' % (self._prog, metadata.version('cells'))
        found.add_section('Package', lambda: version)
        everywhere: dict[str, Callable[[], Any]] = {
            'Threads': functools.partial(_text, thread_generator.ThreadReportGenerator()),
            'Processes': _processes,
            'Configuration': functools.partial(
                _text, conf_generator.ConfigReportGenerator(self._conf)
            ),
        }
        if 'eventlet' in sys.modules:
            everywhere['Green Threads'] = functools.partial(
                _text, thread_generator.GreenThreadReportGenerator()
            )
        for title, read in {**everywhere, **sections}.items():
            found.add_section(title, functools.partial(_shown, read))
        return str(found.run())


@tenacity.retry(
    # One that ends while they are listed.
    retry=tenacity.retry_if_exception_type(psutil.Error),
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    wait=tenacity.wait_fixed(BETWEEN_SECONDS),
    reraise=True,
)
def _processes() -> str:
    return _text(process_generator.ProcessReportGenerator())


def _text(generator: Callable[[], Any]) -> str:
    found = generator()
    found.set_current_view_type('text')
    return str(found)


def _shown(read: Callable[[], Any]) -> str:
    """Return a section; one that cannot be made must not cost the others."""
    try:
        found = read()
        return found if isinstance(found, str) else json.dumps(found, indent=2, default=str)
    except Exception as error:  # noqa: BLE001 - a report is wanted when something is wrong
        return 'cannot be shown: %s: %s' % (type(error).__name__, error)
