"""Agents of hosts as real processes, beside the cells of :mod:`tests.deploy`."""

import contextlib
import os
import pathlib
import signal
import subprocess

from tests import deploy

CONF = """\
[DEFAULT]
transport_url = %(url)s
host = %(host)s
state_path = %(state_path)s
report_interval = %(interval)s

%(options)s
"""


class Agent:
    """nova-cells-compute on a host of a cell.

    :param options: further groups of its configuration.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        host: str,
        transport_url: str,
        *,
        concurrency: str = 'threading',
        interval: float = 0.5,
        options: str = '',
    ) -> None:
        self.host = host
        self.directory = directory
        self.conf_file = directory / 'compute.conf'
        self.log_file = directory / 'nova-cells-compute.log'
        self._concurrency = concurrency
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        self.conf_file.write_text(
            CONF
            % {
                'url': transport_url,
                'host': host,
                'state_path': directory,
                'interval': interval,
                'options': options,
            }
        )

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ''

    def start(self, wait: bool = True) -> None:
        """Start the daemon and wait until it serves."""
        served = self.log().count('agent serves')
        with open(self.log_file, 'ab') as log:
            self.process = subprocess.Popen(
                [str(deploy.BIN / 'nova-cells-compute'), '--config-file', str(self.conf_file)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    'CELLS_CONCURRENCY': self._concurrency,
                    'PYTHONWARNINGS': 'ignore',
                },
                start_new_session=True,
            )
        if wait:
            deploy.wait_until(
                lambda: self.log().count('agent serves') > served or self.ended(),
                deploy.START_SECONDS,
                '%s serves; see %s' % (self.host, self.log_file),
            )
            assert not self.ended(), self.log()[-3000:]

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def pids(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid, *deploy.descendants(self.process.pid)]

    def kill(self) -> None:
        """Kill the daemon with -9."""
        assert self.process is not None
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, seconds: float = 30) -> int:
        """Stop the daemon in order and return its exit code."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(seconds)

    def end(self) -> None:
        """Kill it if it runs."""
        if self.process is not None and not self.ended():
            self.kill()
