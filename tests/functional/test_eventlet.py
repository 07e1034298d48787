"""What holds under native threads holds under eventlet as well."""

import os
import subprocess
import sys

import pytest

NIGHTLY = os.environ.get('CELLS_TEST_PROFILE') == 'nightly'


@pytest.mark.timeout(1200)
def test_under_eventlet_units_and_contracts_hold_as_well():
    ran = subprocess.run(
        [
            sys.executable,
            '-m',
            'tests.under_eventlet',
            '-q',
            '--no-header',
            'tests/unit',
            'tests/functional/test_drivers.py',
            *(['tests/functional/test_journal.py'] if NIGHTLY else []),
            '-k',
            'not mariadb',
        ],
        capture_output=True,
        text=True,
        timeout=1180,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
