"""What all tests may ask for."""

import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture
def workdir() -> Iterator[pathlib.Path]:
    """A fresh directory that servers and daemons of any account may enter."""
    directory = open_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def open_directory() -> pathlib.Path:
    """Make a directory; pytest's own are private to the account that runs the tests."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix='cells-test-'))
    directory.chmod(0o755)
    return directory
