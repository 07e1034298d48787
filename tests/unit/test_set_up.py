"""What an operator installs: units of systemd and samples, checked by what reads them."""

import configparser
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest
from oslo_config import cfg
from oslo_service import _options as service_options

from cells import neighbour_sources, state

ROOT = pathlib.Path(__file__).parents[2]
UNITS = sorted((ROOT / 'etc' / 'systemd').glob('*.service'))
BIN = pathlib.Path(sys.executable).parent


def read(path):
    found = configparser.RawConfigParser(strict=True)
    found.optionxform = str
    found.read(path)
    return found


def test_there_is_a_unit_for_each_daemon():
    assert [path.name for path in UNITS] == ['nova-cells-compute@.service', 'nova-cells@.service']


@pytest.mark.parametrize('path', UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_program_that_is_installed_with_the_file_of_its_instance(path):
    program, option, conf = shlex.split(read(path)['Service']['ExecStart'])
    assert (BIN / pathlib.Path(program).name).exists()
    assert pathlib.Path(program).name == path.name.partition('@')[0]
    assert option == '--config-file'
    assert conf.startswith('/etc/cells/')
    assert '%i' in conf


@pytest.mark.parametrize('path', UNITS, ids=lambda path: path.name)
def test_o10_a_unit_lets_workers_drain_before_it_kills(path):
    service = read(path)['Service']
    [timeout] = [
        one.default
        for one in service_options.service_opts
        if isinstance(one, cfg.IntOpt) and one.dest == 'graceful_shutdown_timeout'
    ]
    assert int(service['TimeoutStopSec']) >= timeout + 15
    assert service['KillMode'] == 'mixed'
    assert service['Type'] == 'notify'
    assert service['Restart'] == 'on-failure'
    assert service['RestartPreventExitStatus'] == '2'
    assert service['ExecReload'].split()[-2:] == ['-HUP', '$MAINPID']


def test_the_state_of_each_instance_is_its_own():
    paths = {read(path)['Service']['StateDirectory'] for path in UNITS}
    assert paths == {'cells/%i', 'cells/compute-%i'}


@pytest.mark.skipif(shutil.which('systemd-analyze') is None, reason='systemd is not installed')
@pytest.mark.parametrize('path', UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong_with_a_unit(path, tmp_path):
    text = path.read_text().replace('/opt/cells/bin', str(BIN))
    text = text.replace('=nova-cells\n', '=root\n')
    unit = tmp_path / path.name.replace('@', '@region-1')
    unit.write_text(text)
    checked = subprocess.run(
        ['systemd-analyze', 'verify', str(unit)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, '')


def test_the_sample_of_neighbours_is_a_tree():
    sample = ROOT / 'etc' / 'cells' / 'cells.json.sample'
    found = state.topology_of(
        state.Place('region-1'), neighbour_sources.FileSource(str(sample)).read()
    )
    assert found.names == {'api', 'cell-a', 'cell-b'}
    assert set(found.parents) == {'api'}
