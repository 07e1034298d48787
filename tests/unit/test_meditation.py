"""What a process says of itself when it is asked by a signal."""

import os
import signal

import psutil
import pytest
from oslo_config import cfg

from cells import configured, meditation
from tests.unit.builders import eventually

SECRET = 'Passw0rd-of-this-test'


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / 'cells.conf'
    path.write_text(
        '[DEFAULT]\ntransport_url = rabbit://nova:%s@broker:5672/v\n'
        '[oslo_messaging_notifications]\ntransport_url = rabbit://nova:%s@other:5672/v\n'
        '[database]\nconnection = postgresql+psycopg2://nova:%s@db/cells\n'
        '[cells]\nname = region-1\n' % ((SECRET,) * 3)
    )
    conf = cfg.ConfigOpts()
    configured.prepare(conf)
    conf(['--config-file', str(path)], project='cells')
    return conf


def broken():
    raise LookupError('not there')


def test_x7_a_report_shows_all_sections_and_no_secret(conf):
    report = meditation.Meditation('nova-cells', conf, None)
    text = report.text({'Neighbours': lambda: [{'name': 'leaf', 'mute': False}], 'Odd': broken})
    for shown in (
        'Guru Meditation',
        'nova-cells ',
        'test_x7_a_report_shows_all_sections',  # the stack of this thread
        'name = region-1',
        'connection = ***',
        '"name": "leaf"',
        'cannot be shown: LookupError: not there',
    ):
        assert shown in text
    assert SECRET not in text


def test_a_report_goes_into_a_file_when_a_directory_is_given(conf, tmp_path, capsys):
    report = meditation.Meditation('nova-cells', conf, str(tmp_path))
    report.write({})
    [path] = tmp_path.glob('nova-cells_gurumeditation_*')
    assert 'Guru Meditation' in path.read_text()
    assert capsys.readouterr().err == ''


def test_a_report_that_cannot_be_written_is_shown(conf, tmp_path, capsys):
    report = meditation.Meditation('nova-cells', conf, str(tmp_path / 'nowhere'))
    report.write({})
    shown = capsys.readouterr().err
    assert shown.startswith('A report cannot be written: ')
    assert 'Guru Meditation' in shown


def test_a_report_that_fails_costs_nothing_but_itself(conf, monkeypatch, caplog, capsys):
    report = meditation.Meditation('nova-cells', conf, None)
    text = report.text
    monkeypatch.setattr(meditation, 'LOOK_SECONDS', 0.01)
    monkeypatch.setattr(report, 'text', broken)
    before = signal.getsignal(signal.SIGUSR2)
    report.listen()
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        eventually(lambda: 'A report of this process cannot be made' in caplog.text)
        monkeypatch.setattr(report, 'text', text)
        os.kill(os.getpid(), signal.SIGUSR2)
        shown = []
        eventually(lambda: shown.append(capsys.readouterr().err) or 'Guru' in ''.join(shown))
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_process_that_ends_while_processes_are_listed_is_waited_for(conf, monkeypatch):
    ended, real = [1, 2], psutil.Process.cmdline

    def cmdline(self):
        if ended:
            raise psutil.ZombieProcess(ended.pop())
        return real(self)

    monkeypatch.setattr(psutil.Process, 'cmdline', cmdline)
    shown = meditation.Meditation('nova-cells', conf, None).text({})
    assert 'cannot be shown' not in shown
    assert 'Process %d' % os.getpid() in shown


def test_processes_that_cannot_be_listed_cost_only_their_section(conf, monkeypatch):
    def cmdline(self):
        raise psutil.ZombieProcess(self.pid)

    monkeypatch.setattr(psutil.Process, 'cmdline', cmdline)
    shown = meditation.Meditation('nova-cells', conf, None).text({})
    assert 'cannot be shown: ZombieProcess' in shown
    assert 'name = region-1' in shown
