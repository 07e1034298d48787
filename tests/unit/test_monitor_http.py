"""The pages over a real socket."""

import json
import socket
import urllib.error
import urllib.request

import pytest

from cells import exceptions
from cells.monitor import http


def broken():
    raise LookupError('a fault of a page')


PAGES = {
    '/good': lambda: http.as_json(200, {'a': 1}),
    '/bad': lambda: http.as_json(503, {'b': 2}),
    '/broken': broken,
}


@pytest.fixture
def server():
    found = http.Server('127.0.0.1', 0, PAGES)
    found.start()
    yield found
    found.stop()


def get(server, path, method='GET'):
    request = urllib.request.Request('http://127.0.0.1:%d%s' % (server.port, path), method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    ('path', 'method', 'status', 'values'),
    [
        ('/good', 'GET', 200, {'a': 1}),
        ('/good?x=1', 'GET', 200, {'a': 1}),
        ('/bad', 'GET', 503, {'b': 2}),
        ('/broken', 'GET', 500, {'error': 'see the log of the daemon'}),
        ('/good', 'POST', 405, {'error': 'only GET and HEAD'}),
        ('/other', 'GET', 404, {'error': 'no such page', 'pages': sorted(PAGES)}),
    ],
)
def test_a_page_is_shown_or_it_is_said_why_not(server, path, method, status, values):
    found, content = get(server, path, method)
    assert (found, json.loads(content)) == (status, values)


def test_the_head_of_a_page_has_no_content(server):
    assert get(server, '/bad', 'HEAD') == (503, b'')


def test_one_who_says_nothing_holds_nobody_up(server):
    with socket.create_connection(('127.0.0.1', server.port)):
        assert get(server, '/good')[0] == 200


def test_the_port_is_free_again_after_the_end(server):
    again = http.Server('127.0.0.1', 0, PAGES)
    again.start()
    port = again.port
    again.stop()
    http.check('127.0.0.1', port)


@pytest.mark.parametrize(
    ('address', 'reason'),
    [('192.0.2.1', 'assign'), ('no-such-host.invalid', '')],
)
def test_an_address_that_is_not_of_this_machine_is_refused(address, reason):
    with pytest.raises(exceptions.ConfigurationError) as raised:
        http.check(address, 9461)
    text = str(raised.value)
    assert '[monitoring] address = %s, port = 9461 cannot be listened on: ' % address in text
    assert reason in text


def test_a_port_that_is_in_use_is_refused(server):
    with pytest.raises(exceptions.ConfigurationError, match='in use'):
        http.check('127.0.0.1', server.port)
