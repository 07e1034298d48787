"""What is installed: archive and wheel, without git, in an environment that has nothing else."""

import os
import pathlib
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

from tests.conftest import open_directory

ROOT = pathlib.Path(__file__).parents[2]


def run(*command, cwd='/', **env):
    """Run a program to its end; git, and what points into this tree, is not there for it."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(('PYTHON', 'GIT'))
    }
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**kept, **env},
        check=False,
    )
    assert done.returncode == 0, '%s\n%s\n%s' % (command, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


@pytest.fixture(scope='module')
def directory():
    found = open_directory()
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture(scope='module')
def archive(directory):
    """Make the archive from what is in the tree now."""
    if not (ROOT / '.git').exists():
        pytest.skip('pbr makes an archive only where git is')
    source = directory / 'source'
    run('git', 'clone', '-q', ROOT, source)
    named = run('git', 'ls-files', '-co', '--exclude-standard', cwd=ROOT).splitlines()
    for name in named:
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run('git', 'add', '-A', cwd=source)
    out = directory / 'archive'
    run(sys.executable, '-m', 'build', '-n', '--sdist', '--outdir', out, source)
    [found] = out.iterdir()
    return found


@pytest.fixture(scope='module')
def wheel(directory, archive):
    """Make the wheel from the unpacked archive, where there is no git."""
    unpacked = directory / 'unpacked'
    with tarfile.open(archive) as found:
        found.extractall(unpacked, filter='data')
    [source] = unpacked.iterdir()
    assert not (source / '.git').exists()
    out = directory / 'wheel'
    run(sys.executable, '-m', 'build', '-n', '--wheel', '--outdir', out, source)
    [made] = out.iterdir()
    return made


def test_archive_and_wheel_have_the_same_version_and_all_files(archive, wheel):
    version = archive.name.removeprefix('cells-').removesuffix('.tar.gz')
    assert wheel.name == 'cells-%s-py3-none-any.whl' % version
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = {
        str(path.relative_to(ROOT))
        for path in (ROOT / 'cells').rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    assert packaged - names == set()
    data = 'cells-%s.data/data/' % version
    for folder, place in (('etc/cells', 'etc/cells'), ('etc/systemd', 'share/cells/systemd')):
        for path in (ROOT / folder).iterdir():
            assert data + '%s/%s' % (place, path.name) in names
    with tarfile.open(archive) as found:
        inside = {name.partition('/')[2] for name in found.getnames()}
    for name in ('constraints.txt', 'doc/source/index.rst', 'tests/conftest.py', 'tools/demo'):
        assert name in inside


@pytest.fixture(scope='module')
def installed(directory, wheel):
    """Install the wheel into an environment of its own; what it needs is lent from this one."""
    where = directory / 'venv'
    venv.create(where, with_pip=False, symlinks=True)
    python = where / 'bin' / 'python'
    pip = (sys.executable, '-m', 'pip', '--disable-pip-version-check', '--python', python)
    run(*pip, 'install', '-q', '--no-index', '--no-deps', wheel)
    [packages] = where.glob('lib/python*/site-packages')
    (packages / 'lent.pth').write_text(''.join('%s\n' % path for path in site.getsitepackages()))
    shown = run(python, '-c', 'import cells; print(cells.__file__)')
    assert shown.startswith(str(where))
    return where


CONF = """\
[DEFAULT]
transport_url = rabbit://u:p@127.0.0.1:1/v
state_path = %(state)s
[database]
connection = sqlite:///%(state)s/cells.sqlite
[cells]
name = api
cell_type = api
"""


def try_out(where, directory):
    """Do with what is installed what a new user does first."""
    version = run(where / 'bin' / 'nova-cells', '--version').strip()
    assert version
    assert run(where / 'bin' / 'nova-cells-compute', '--version').strip() == version
    assert run(where / 'bin' / 'nova-cells-manage', '--version').split()[-1] == version
    for program in ('nova-cells', 'nova-cells-compute', 'nova-cells-manage', 'nova-cells-demo'):
        assert 'usage: %s' % program in run(where / 'bin' / program, '--help').lower()
    state = directory / 'state'
    state.mkdir()
    conf = directory / 'api.conf'
    conf.write_text(CONF % {'state': state})
    manage = (where / 'bin' / 'nova-cells-manage', '--config-file', conf)
    assert 'revision' in run(*manage, 'db', 'sync')
    assert run(*manage, 'cell', 'list', '-f', 'json').strip() == '[]'
    assert (where / 'etc' / 'cells' / 'cells.conf.sample').exists()
    assert (where / 'share' / 'cells' / 'systemd' / 'nova-cells@.service').exists()


def test_what_is_installed_makes_a_database_and_starts(installed, directory):
    try_out(installed, directory)


@pytest.mark.nightly
@pytest.mark.skipif(
    os.environ.get('CELLS_TEST_PROFILE') != 'nightly', reason='of the nightly profile'
)
@pytest.mark.timeout(900)
def test_the_wheel_alone_is_enough_with_what_it_asks_for(wheel, directory):
    where = directory / 'empty'
    venv.create(where, with_pip=True, symlinks=True)
    pip = (where / 'bin' / 'pip', '--disable-pip-version-check', 'install', '-q')
    run(*pip, '-c', ROOT / 'constraints.txt', '%s[server]' % wheel)
    (directory / 'alone').mkdir()
    try_out(where, directory / 'alone')
    shown = run(where / 'bin' / 'nova-cells-demo', COLUMNS='200')
    assert shown.rstrip().endswith('All as it should be.')
