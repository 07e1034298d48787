"""What holds under native threads holds under eventlet as well."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

import pytest

NIGHTLY = os.environ.get('CELLS_TEST_PROFILE') == 'nightly'
TESTS = pathlib.Path(__file__).parents[1]


def under_eventlet(paths: list[str]) -> None:
    ran = subprocess.run(
        [
            *(sys.executable, '-m', 'tests.under_eventlet', '-q', '--no-header'),
            *(*paths, '-k', 'not mariadb'),
        ],
        capture_output=True,
        text=True,
        timeout=1180,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-1000:]
    assert ' passed' in ran.stdout


@pytest.mark.timeout(1200)
def test_under_eventlet_units_and_contracts_hold_as_well():
    units = sorted(map(str, TESTS.glob('unit/test_*.py')))
    contracts = ['tests/functional/test_drivers.py']
    if NIGHTLY:
        contracts.append('tests/functional/test_journal.py')
    # They wait for most of the time: side by side they take half of it.
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for ended in [
            pool.submit(under_eventlet, part) for part in (units[::2], units[1::2], contracts)
        ]:
            ended.result()
