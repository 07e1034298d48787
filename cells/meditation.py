"""The Guru Meditation report: everything about a process, when it is sent SIGUSR2.

It goes to where the process writes its errors, or into a file of a directory. It
has the threads and what they are at, the configuration without secrets, and for a worker its
neighbours, what it waits for and its journal. Before it, the stacks alone are written by the
interpreter itself, which it can also when the process is wedged and nothing else comes.
"""

import datetime
import faulthandler
import functools
import json
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

#: Seconds until a worker notices that it was asked.
LOOK_SECONDS: Final = 0.5

#: By title, what returns the values of a section; must not wait for long.
Sections = Mapping[str, Callable[[], Any]]

#: At a report, each with the processes as they are then.
ATTEMPTS: Final = 5


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
        self._watched_by: int | None = None

    def listen(self) -> None:
        """Report when the signal comes; call in the main thread, before anything is forked."""
        signal.signal(signal.SIGUSR2, self._on_signal)
        try:
            faulthandler.register(signal.SIGUSR2, all_threads=True, chain=True)
        except (AttributeError, ValueError, OSError):
            return  # standard error is no file, as in some tests

    def watch(self, sections: Sections) -> None:
        """Have these sections in the reports of this process; call after the fork.

        They are made in a thread of their own: one that is interrupted may hold their locks.
        """
        self._watched_by = os.getpid()
        threading.Thread(target=self._run, args=(sections,), name='report', daemon=True).start()

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._watched_by == os.getpid():
            self._asked = True
        else:
            self.write({})

    def _run(self, sections: Sections) -> None:
        pause = threading.Event()
        while True:
            pause.wait(LOOK_SECONDS)
            if self._asked:
                self._asked = False
                self.write(sections)

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
        found.add_section('Threads', thread_generator.ThreadReportGenerator())
        if 'eventlet' in sys.modules:
            found.add_section('Green Threads', thread_generator.GreenThreadReportGenerator())
        found.add_section('Processes', process_generator.ProcessReportGenerator())
        found.add_section('Configuration', conf_generator.ConfigReportGenerator(self._conf))
        for title, read in sections.items():
            found.add_section(title, functools.partial(_shown, read))
        # A process that ends while all below this one are listed is no reason for no report.
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(psutil.Error),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            reraise=True,
        )
        return str(retrying(found.run))


def _shown(read: Callable[[], Any]) -> str:
    """Return a section; one that cannot be made must not cost the others."""
    try:
        return json.dumps(read(), indent=2, default=str)
    except Exception as error:  # noqa: BLE001 - a report is wanted when something is wrong
        return 'cannot be shown: %s: %s' % (type(error).__name__, error)
