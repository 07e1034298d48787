"""What a process says of itself when it is asked by a signal."""

import pytest
from oslo_config import cfg

from cells import configured, meditation

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
