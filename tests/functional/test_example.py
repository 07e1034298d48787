"""The small API service of ``examples/`` on the tree of the demo: as a user of it sees it."""

import importlib.util
import io
import json
import pathlib
import time
from wsgiref import util

import pytest

from cells.cmd import demo_tree
from tests import deploy

EXAMPLE = pathlib.Path(__file__).parents[2] / 'examples' / 'api_service.py'


@pytest.fixture(scope='module')
def example():
    spec = importlib.util.spec_from_file_location('api_service', EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(example, workdir):
    tree = demo_tree.Tree(workdir)
    tree.start()
    deploy.wait_until(
        lambda: (
            len(tree.api.compute_node_get_all(tree.ctxt)) == 12
            and bool(tree.api.get_capacities(tree.ctxt).get('ram_free'))
        ),
        30,
        'all hosts are known',
    )
    yield example.Servers(tree.api, tree.records)
    tree.stop()


def ask(service, method, path, body=None, **headers):
    """Ask as a web server does; return the status and what was answered."""
    text = b'' if body is None else json.dumps(body).encode()
    environ = {
        'REQUEST_METHOD': method,
        'PATH_INFO': path,
        'CONTENT_LENGTH': str(len(text)),
        'wsgi.input': io.BytesIO(text),
        **headers,
    }
    util.setup_testing_defaults(environ)
    found = []
    answer = b''.join(service(environ, lambda status, headers: found.append(status)))
    return int(found[0].split()[0]), json.loads(answer)


def wait_for(service, server, state):
    until = time.monotonic() + 30
    while True:
        status, answer = ask(service, 'GET', '/servers/' + server)
        assert status == 200, answer
        found = answer['server']
        if found['vm_state'] == state and found['task_state'] is None:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.1)


def test_servers_are_created_listed_stopped_and_deleted(service):
    status, answer = ask(service, 'POST', '/servers', {'name': 'web', 'memory_mb': 2048})
    assert status == 202
    server = answer['server']['uuid']
    assert answer['server']['display_name'] == 'web'
    found = wait_for(service, server, 'active')
    assert found['cell_name'].startswith('api!region-')

    # What is another project's is not seen, and not there.
    _, answer = ask(service, 'GET', '/servers')
    assert [one['uuid'] for one in answer['servers']] == [server]
    _, answer = ask(service, 'GET', '/servers', HTTP_X_PROJECT_ID='other')
    assert answer['servers'] == []
    assert ask(service, 'GET', '/servers/' + server, HTTP_X_PROJECT_ID='other')[0] == 404

    assert ask(service, 'POST', '/servers/%s/stop' % server)[0] == 202
    wait_for(service, server, 'stopped')
    assert ask(service, 'POST', '/servers/%s/start' % server)[0] == 202
    wait_for(service, server, 'active')

    assert ask(service, 'DELETE', '/servers/' + server)[0] == 202
    until = time.monotonic() + 30
    while ask(service, 'GET', '/servers/' + server)[0] != 404:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert ask(service, 'GET', '/servers')[1] == {'servers': []}


def test_what_cannot_be_used_is_refused_with_a_reason(service):
    status, answer = ask(service, 'POST', '/servers', {'memory_mb': 512})
    assert (status, 'name' in answer['message']) == (400, True)
    status, answer = ask(service, 'POST', '/servers', {'name': 'web', 'memory_mb': -1})
    assert (status, '-1' in answer['message']) == (400, True)
    assert ask(service, 'POST', '/servers', ['no', 'names'])[0] == 400
    assert ask(service, 'GET', '/servers/nosuch')[0] in (400, 404)
    assert ask(service, 'POST', '/servers/nosuch/explode')[0] == 404
