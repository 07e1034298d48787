"""The transport URL of a neighbour, in each way that it can be given."""

import argparse

import pytest

from cells import exceptions, neighbour_sources
from cells.cmd.manage import urls, words

URL = 'rabbit://u:s3cr3t@b:1/x'


def given(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument('transport_url', nargs='?')
    urls.add_arguments(parser)
    return urls.given(parser.parse_args(arguments))


def test_a_url_comes_whole_from_a_file_or_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / 'url').write_text(URL + '\n')
    monkeypatch.setenv('OF_CHILD', URL)
    assert given(URL) == URL
    assert given('--url-file', str(tmp_path / 'url')) == URL
    assert given('--url-env', 'OF_CHILD') == URL
    assert given() is None


@pytest.mark.parametrize('password', ['plain', 'a/b@c:d%e?f#g', 'ä ö', '%2F', "'"])
def test_d12_d13_parts_make_a_url_with_any_password_and_several_brokers(monkeypatch, password):
    monkeypatch.setenv('PASSWORD', password)
    brokers = [word for n in range(5) for word in ('--broker', 'b%d:567%d' % (n, n))]
    made = given(
        *(*brokers, '--broker', '[::1]', '--username', 'u@v', '--password-env', 'PASSWORD'),
        *('--virtual-host', 'a/b'),
    )
    hosts = neighbour_sources.hosts(made)
    assert {(host.username, host.password) for host in hosts} == {('u@v', password)}
    assert [(host.hostname, host.port) for host in hosts][:2] == [('b0', 5670), ('b1', 5671)]
    assert len(hosts) == 6
    assert made.endswith('/a%2Fb')
    assert words.brokers(made).startswith('b0:5670, b1:5671, ')


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        ((URL, '--url-env', 'A'), 'given twice: by transport_url and by --url-env'),
        (('--url-file', 'a', '--username', 'b'), 'given twice: by --url-file and by --username'),
        (('--broker', 'b'), 'is not complete'),
        (('--broker', 'b:c', '--username', 'u', '--password-env', 'PATH'), 'HOST or HOST:PORT'),
        (('--broker', 'b:70000', '--username', 'u', '--password-env', 'PATH'), 'HOST:PORT'),
        (
            ('--broker', 'b', '--username', 'u', '--password-env', 'A', '--password-file', 'b'),
            'not both',
        ),
        (('--url-env', 'NO_SUCH_VARIABLE'), 'no such environment variable'),
        (('--url-file', '/no/such/file'), 'No such file'),
        (('--url-file', '/dev/null'), 'is empty'),
    ],
)
def test_a_url_that_is_not_there_is_refused(arguments, text):
    with pytest.raises(exceptions.Invalid, match=text):
        given(*arguments)
