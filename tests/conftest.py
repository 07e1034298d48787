"""What all tests may ask for."""

import logging
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from tests import mixed

#: The modules that take longest. They begin first, so that the others fill up the time beside them.
LONGEST = (
    'test_eventlet',
    'test_instances',
    'test_delivery',
    'test_pages',
    'test_programs',
    'test_path',
    'test_hosts',
    'test_tree',
    'test_monitoring',
    'test_manage',
)


@pytest.fixture
def workdir() -> Iterator[pathlib.Path]:
    """A fresh directory that servers and daemons of any account may enter."""
    directory = open_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """What programs that run in a test set for the log of all of cells ends with the test."""
    logger = logging.getLogger('cells')
    before = logger.level
    yield
    logger.setLevel(before)


def open_directory() -> pathlib.Path:
    """Make a directory; pytest's own are private to the account that runs the tests."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix='cells-test-'))
    directory.chmod(0o755)
    return directory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, and skip what plain cells cannot do (:mod:`tests.mixed`)."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))
    plain = mixed.mode()
    for item in items if plain else ():
        for mark in item.iter_markers('needs_extensions'):
            item.add_marker(pytest.mark.skip('with plain cells: %s' % mark.args[0]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Leave out half characters, which cannot be passed on from one process to another."""
    report = yield
    report.sections = [(name, _whole(text)) for name, text in report.sections]
    if report.longrepr is not None and _whole(str(report.longrepr)) != str(report.longrepr):
        report.longrepr = _whole(str(report.longrepr))
    return report


def _whole(text: str) -> str:
    return text.encode('utf-8', 'replace').decode()
