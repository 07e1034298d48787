"""What workers say of themselves, and who reads it."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from cells import published
from tests import deploy


@pytest.fixture
def publisher(tmp_path):
    found = published.Publisher(
        str(tmp_path), 'worker-0', lambda: {'worker': 'h.0', 'pid': os.getpid()}
    )
    yield found
    found.stop()


def test_what_a_worker_says_is_read_with_its_age(publisher, tmp_path):
    publisher.start()
    [found] = deploy.wait_until(
        lambda: published.read(str(tmp_path), os.getppid()), 20, 'it is written'
    )
    assert found['worker'] == 'h.0'
    assert 0 <= found['age'] < 20


def test_one_that_has_stopped_says_nothing(publisher, tmp_path):
    publisher.start()
    deploy.wait_until(lambda: list(tmp_path.iterdir()), 20, 'it is written')
    publisher.stop()
    assert published.read(str(tmp_path), os.getppid()) == []


def write(directory, **values):
    said = {'worker': 'h.0', 'pid': os.getpid(), 'master': 1, 'at': time.monotonic(), **values}
    (directory / ('w' + published.SUFFIX)).write_text(json.dumps(said))


def test_the_workers_of_another_daemon_are_left_out(tmp_path):
    write(tmp_path, master=2)
    assert published.read(str(tmp_path), 1) == []


def test_what_a_process_said_that_was_killed_counts_for_nothing(tmp_path):
    ended = subprocess.Popen([sys.executable, '-c', ''])
    deploy.wait_until(
        lambda: 'Z' in pathlib.Path('/proc/%d/stat' % ended.pid).read_text().split(),
        20,
        'it has ended',
    )
    write(tmp_path, pid=ended.pid)
    assert published.read(str(tmp_path), 1) == []
    ended.wait()
    assert published.read(str(tmp_path), 1) == []


def test_a_worker_that_says_nothing_more_gets_old(tmp_path):
    write(tmp_path, at=time.monotonic() - 40)
    [found] = published.read(str(tmp_path), 1)
    assert found['age'] >= 40


def test_half_a_file_is_left_out(tmp_path):
    (tmp_path / ('w' + published.SUFFIX)).write_text('{"pid": ')
    assert published.read(str(tmp_path), 1) == []
