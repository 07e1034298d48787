"""Options in files that nobody reads: named with a guess at each start, and not without end."""

import pytest
from oslo_config import cfg

from cells import rpc
from cells.cmd import launch, option_names


@pytest.fixture
def conf(tmp_path):
    """Return what reads a text as a configuration file."""

    def read(text: str, more: str = '') -> cfg.ConfigOpts:
        (tmp_path / 'cells.conf').write_text(text)
        (tmp_path / 'more').mkdir()
        (tmp_path / 'more' / 'more.conf').write_text(more)
        found = cfg.ConfigOpts()
        rpc.prepare(found)
        place = ['--config-file', str(tmp_path / 'cells.conf')]
        found([*place, '--config-dir', str(tmp_path / 'more')], project='cells', prog='test')
        return found

    return read


def test_a_start_says_what_nobody_reads_with_a_guess(conf):
    found = conf(
        '[DEFAULT]\ntransport_url = rabbit://a\n[cells]\nnaem = x\nname = y\n', '[z]\nq = 1'
    )
    first, second = launch.hints(found)
    assert first.endswith('cells.conf: nobody reads [cells] naem (is it [cells] name?)')
    assert second.endswith('more.conf: nobody reads [z] q')


def test_a_file_with_very_many_such_options_takes_one_line(conf):
    others = ''.join('strange_%d = 1\n' % number for number in range(50))
    text = '[DEFAULT]\ntransport_url = rabbit://a\n[nova]\n%s[cells]\nnaem = x\n' % others
    [line] = launch.hints(conf(text))
    assert 'nobody reads [cells] naem (is it [cells] name?), [nova] strange_' in line
    assert line.endswith(', %d more' % (51 - option_names.MOST_NAMED))


def test_a_start_says_that_no_message_bus_is_named(conf):
    [line] = launch.hints(conf('[cells]\nname = x\n'))
    assert line == (
        '[DEFAULT] transport_url is not set: the broker of this host is used, as user guest'
    )


def test_options_of_the_libraries_are_read(conf):
    text = '[DEFAULT]\ntransport_url = rabbit://a\ndebug = true\ngraceful-shutdown-timeout = 3\n'
    assert launch.hints(conf(text + '[oslo_messaging_rabbit]\nssl = true\n')) == []


def test_a_file_is_found_and_left_out_as_oslo_config_does(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'a.conf').write_text('[DEFAULT]\ntransport_url = rabbit://a\n[cells]\nnaem = x\n')
    (tmp_path / 'more').mkdir()
    (tmp_path / 'more' / '.#b.conf').symlink_to(tmp_path / 'nowhere')
    found = cfg.ConfigOpts()
    rpc.prepare(found)
    found(['--config-file', '~/a.conf', '--config-dir', '~/more'], project='cells', prog='test')
    [line] = launch.hints(found)
    assert line == '%s/a.conf: nobody reads [cells] naem (is it [cells] name?)' % tmp_path


def test_a_file_that_is_gone_since_it_was_read_does_not_keep_a_daemon_from_starting(conf, tmp_path):
    found = conf('[DEFAULT]\ntransport_url = rabbit://a\n')
    (tmp_path / 'cells.conf').unlink()
    [line] = launch.hints(found)
    assert 'cells.conf' in line


def test_options_that_the_library_does_not_list_are_read(conf):
    text = (
        '[DEFAULT]\ntransport_url = rabbit://a\n[oslo_messaging_metrics]\nmetrics_enabled = true\n'
    )
    assert launch.hints(conf(text)) == []
