"""The programs as a person meets them: the demo, the daemon's refusals, nova-cells-manage."""

import json
import os
import signal
import subprocess
import sys

import pytest

from cells.db import engine, migration
from tests import deploy

SECRET = 's3cr3t'


def run(program: str, *arguments: str, seconds: float = 60, **env: str):
    """Run a program of ours to its end."""
    return subprocess.run(
        [str(deploy.BIN / program), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
        check=False,
    )


@pytest.mark.parametrize('concurrency', ['threading', 'eventlet'])
def test_the_demo_shows_the_tree_and_the_silent_cell(concurrency):
    shown = run('nova-cells-demo', CELLS_CONCURRENCY=concurrency, COLUMNS='200')
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ''
    assert 'cell-b falls silent' in shown.stdout
    assert 'Timeout waiting for response from cell api!region-1!cell-b' in shown.stdout
    assert shown.stdout.rstrip().endswith('All as it should be.')
    assert '✘' not in shown.stdout


@pytest.fixture
def conf_file(workdir):
    """Write a configuration; give lines by group to change it."""

    def write(default: str = '', database: str | None = None, cells: str = ''):
        url = database or 'sqlite:///%s' % (workdir / 'cells.sqlite')
        found = workdir / 'cells.conf'
        found.write_text(
            '[DEFAULT]\ntransport_url = rabbit://nova:%s@127.0.0.1:1/x\nstate_path = %s\n%s\n'
            '[database]\nconnection = %s\n[cells]\nname = api\ncell_type = api\n%s\n'
            % (SECRET, workdir, default, url, cells)
        )
        return str(found)

    return write


@pytest.mark.parametrize(
    ('change', 'code', 'texts'),
    [
        ({}, 1, ['schema is at revision none', 'nova-cells-manage db sync']),
        ({'cells': 'driver = pigeon'}, 1, ['driver = pigeon', 'fake, rpc']),
        ({'cells': 'driver = no.such.Class'}, 1, ['driver = no.such.Class', 'imported']),
        ({'cells': 'name = a!b'}, 1, ["'a!b'", 'not allowed']),
        ({'cells': 'cell_type = top'}, 1, ['cell_type', 'api', 'compute']),
        ({'cells': 'call_timeout = soon'}, 1, ['call_timeout', 'soon']),
        ({'database': 'nonsense'}, 1, ['[database] connection']),
        ({'default': 'transport_url = nonsense'}, 1, ['transport_url', 'rabbit://']),
    ],
)
def test_a_bad_configuration_is_refused_with_what_is_allowed(conf_file, change, code, texts):
    refused = run('nova-cells', '--config-file', conf_file(**change))
    assert refused.returncode == code, refused.stderr
    for text in texts:
        assert text in refused.stderr
    assert 'Traceback' not in refused.stderr
    assert SECRET not in refused.stderr + refused.stdout


def test_a_missing_configuration_file_is_named(workdir):
    refused = run('nova-cells', '--config-file', str(workdir / 'nowhere.conf'))
    assert refused.returncode == 2
    assert 'nowhere.conf' in refused.stderr
    assert 'Traceback' not in refused.stderr


def test_an_unknown_kind_of_concurrency_is_refused():
    refused = run('nova-cells', CELLS_CONCURRENCY='asyncio')
    assert refused.returncode == 2
    assert 'eventlet or threading' in refused.stderr


@pytest.fixture
def daemon(conf_file, workdir):
    """Start a daemon whose broker is away, and give it with a function that reads its log."""
    processes = []

    def start(concurrency: str, cells: str = ''):
        path = conf_file(cells=cells)
        migration.sync(engine.Database('sqlite:///%s' % (workdir / 'cells.sqlite')))
        with open(workdir / 'log', 'w') as log:
            process = subprocess.Popen(
                [str(deploy.BIN / 'nova-cells'), '--config-file', path],
                stderr=log,
                stdout=log,
                env={**os.environ, 'CELLS_CONCURRENCY': concurrency},
            )
        processes.append(process)
        return process, (workdir / 'log').read_text

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize('concurrency', ['threading', 'eventlet'])
def test_a_daemon_waits_for_a_broker_says_so_and_can_be_stopped(daemon, concurrency):
    process, log = daemon(concurrency)
    deploy.wait_until(lambda: 'Connection failed' in log(), 30, 'it says so')
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert SECRET not in log()
    assert 'Traceback' not in log()


def test_a_daemon_says_what_works_but_not_well(daemon):
    process, log = daemon('eventlet', 'workers = 2')
    deploy.wait_until(lambda: '2 workers share an SQLite database' in log(), 30, 'SQLite')
    assert 'Under eventlet every statement of the database driver pysqlite' in log()
    deploy.wait_until(lambda: 'Connection failed' in log(), 30, 'it goes on')
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def manage(conf: str, *arguments: str):
    return run('nova-cells-manage', '--config-file', conf, *arguments)


def test_a_schema_is_made_and_neighbours_are_managed(conf_file):
    conf = conf_file()
    assert manage(conf, 'db', 'version').stdout.startswith('none (this version needs ')
    made = manage(conf, 'db', 'sync')
    assert (made.returncode, made.stderr) == (0, '')
    url = 'rabbit://nova:%s%%40%%2F@broker:5671/child' % SECRET
    assert manage(conf, 'cell', 'create', 'child', 'child', url).returncode == 0
    listed = manage(conf, 'cell', 'list', '-f', 'json')
    assert json.loads(listed.stdout) == [
        {
            'Name': 'child',
            'Side': 'child',
            'Broker': 'broker:5671',
            'Weight offset': 0.0,
            'Weight scale': 1.0,
        }
    ]
    assert SECRET not in listed.stdout + listed.stderr


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['child', 'child', 'rabbit://a:b@c:5672/d'], 'child already exists'),
        (['a.b', 'child', 'rabbit://a:b@c:5672/d'], "'a.b'"),
        (['', 'child', 'rabbit://a:b@c:5672/d'], 'not empty'),
        (['api', 'child', 'rabbit://a:b@c:5672/d'], 'this cell itself'),
        (['other', 'child', 'nonsense'], 'rabbit://user:password@host:port/virtual_host'),
        (['other', 'uncle', 'rabbit://a:b@c:5672/d'], "'uncle'"),
        (['top2', 'parent', 'rabbit://a:b@c:5672/d'], 'one parent'),
    ],
)
def test_r11_a_neighbour_that_cannot_be_is_refused(conf_file, arguments, text):
    conf = conf_file()
    manage(conf, 'db', 'sync')
    for made in (['child', 'child'], ['top', 'parent']):
        manage(conf, 'cell', 'create', *made, 'rabbit://a:b@c:5672/d')
    refused = manage(conf, 'cell', 'create', *arguments)
    assert refused.returncode != 0
    assert text in refused.stderr
    assert 'Traceback' not in refused.stderr


def test_manage_says_in_one_line_that_the_database_is_away(conf_file):
    url = 'postgresql+psycopg2://nova:%s@127.0.0.1:1/cells' % SECRET
    refused = manage(conf_file(database=url), 'cell', 'list')
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    assert 'the database cannot be used' in refused.stderr
    assert SECRET not in refused.stderr


@pytest.mark.timeout(600)
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
            'tests/functional/test_journal.py',
            '-k',
            'not mariadb',
        ],
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
