"""Trees of ours of which some cells are as plain as a nova-cells: the same tests, the same results.

A short form here: the tests of a whole tree. ``CELLS_TEST_PROFILE =
nightly`` takes all functional tests of trees. By hand: ``CELLS_TEST_PLAIN=middle pytest
tests/functional``. See :mod:`tests.mixed`.
"""

import os
import pathlib
import subprocess
import sys

import pytest

from tests import mixed

HERE = pathlib.Path(__file__).parent
NIGHTLY = os.environ.get('CELLS_TEST_PROFILE') == 'nightly'
#: The place in the tree, and what is tested with plain cells there.
RUNS = {'middle': ['test_fake_tree.py']}
SECONDS = 3600 if NIGHTLY else 540


def modules(mode):
    """Return the files to run."""
    if not NIGHTLY:
        return [HERE / name for name in RUNS[mode]]
    return sorted(
        path for path in HERE.glob('test_*.py') if path.name != pathlib.Path(__file__).name
    )


@pytest.mark.skipif(mixed.mode() is not None, reason='it is one of those that are run')
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize('mode', mixed.MODES if NIGHTLY else RUNS)
def test_v1_a_tree_with_plain_cells_gives_the_same_results(mode):
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist']
    result = subprocess.run(
        [*command, *map(str, modules(mode))],
        cwd=HERE.parents[1],
        env={**os.environ, mixed.VARIABLE: mode},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-20_000:]
    assert ' passed' in result.stdout
