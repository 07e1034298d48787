"""What a server runs under, so that it ends with the process that started it.

A program of its own, ``guardian.py <order as JSON>``, of the standard library only. It waits for
the end of file on a pipe from the test process. Neither ``atexit`` (not run on a signal) nor a
parent-death signal set there (it follows the *thread* that forked) can promise as much.
"""

import collections
import contextlib
import ctypes
import glob
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import typing

# How long a server whose test process is gone may take to remove its shared memory.
ABANDONED_SECONDS = 5.0

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def as_account(ids: typing.Sequence[int]) -> dict[str, typing.Any]:
    """The arguments of ``subprocess`` that make the child run under these ids; -1 for unchanged."""
    user, group = ids
    return {} if user == -1 else {'user': user, 'group': group, 'extra_groups': []}


def guard(order: dict[str, typing.Any]) -> int:
    """Run a server as the only child of this process until it ends or the parent is gone.

    SIGTERM asks the server to stop, SIGUSR1 kills it. What it leaves behind, down to daemons that
    left its session, ends with it: a subreaper inherits every orphan below it.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def die_with_guardian() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    # The preexec function runs before there is a second thread, and this thread, to which the
    # death signal is tied, lives as long as the guardian.
    server = subprocess.Popen(
        order['command'],
        env=order['environment'],
        cwd=order['directory'],
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_guardian,
        **as_account(order['account']),
    ).pid
    signal.signal(signal.SIGTERM, lambda *_: os.kill(server, order['stop_signal']))
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(server, signal.SIGKILL))

    def watch_parent() -> None:
        # A child that the parent forked without exec keeps the pipe open beyond the parent's end.
        while os.getppid() == parent and not select.select([0], [], [], 1.0)[0]:
            pass
        os.kill(server, order['abandon_signal'])
        time.sleep(ABANDONED_SECONDS)
        os.kill(server, signal.SIGKILL)

    threading.Thread(target=watch_parent, daemon=True).start()
    pid, status = os.wait()
    while pid != server:
        pid, status = os.wait()
    _kill_all_children()
    return 0 if status == 0 else 1


def _kill_all_children() -> None:
    while True:
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _descendants(ancestor: int) -> list[int]:
    children = collections.defaultdict(list)
    for path in glob.glob('/proc/[0-9]*/stat'):
        with contextlib.suppress(OSError), open(path) as file:
            # The name, in parentheses, may itself contain spaces and parentheses.
            pid, _, rest = file.read().partition(' ')
            children[int(rest.rpartition(')')[2].split()[1])].append(int(pid))
    found: list[int] = []
    pending = [ancestor]
    while pending:
        offspring = children[pending.pop()]
        found += offspring
        pending += offspring
    return found


if __name__ == '__main__':
    sys.exit(guard(json.loads(sys.argv[1])))
