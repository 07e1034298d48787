"""The README and the quickstart: their commands are read from the pages, and run as they stand.

Left out is what would install something; it is compared with what ``tools/test`` installs. With
``CELLS_TEST_PROFILE=nightly`` the Python packages are installed as well.
"""

import configparser
import importlib.util
import os
import pathlib
import re
import shlex
import subprocess

import pytest

from tests import deploy, pages, servers

ROOT = pathlib.Path(__file__).parents[2]
# The tools make the environment .venv; tests that run in another one are not to.
TOOLS_WILL_DO = deploy.BIN == ROOT / '.venv' / 'bin' and importlib.util.find_spec('sphinx')
tools_needed = pytest.mark.skipif(
    not TOOLS_WILL_DO, reason='these tests do not run in .venv, or it has no Sphinx: tools/lint'
)

QUICKSTART = ROOT / 'doc' / 'source' / 'quickstart.rst'
README = ROOT / 'README.rst'

NIGHTLY = os.environ.get('CELLS_TEST_PROFILE') == 'nightly'


@pytest.fixture
def shell(workdir):
    """A shell whose user lives in a directory of the test."""
    found = pages.Shell(ROOT, HOME=str(workdir), PYTHONWARNINGS='ignore')
    yield found
    found.close()
    for log in sorted(workdir.glob('*/*.log')):
        print('-- the end of %s --\n%s' % (log.name, log.read_text()[-3000:]))


@pytest.mark.timeout(600)
def test_o8_the_quickstart_does_what_it_says(shell, workdir, rabbit):
    installed = workdir / 'installed' / 'bin' if NIGHTLY else deploy.BIN
    changes = {
        '/opt/cells/bin': str(installed),
        '/opt/cells': str(installed.parent),
        '127.0.0.1:5672': '127.0.0.1:%d' % rabbit.port,
        '8774': str(servers.free_port()),
    }
    seen = []
    for command in pages.commands(QUICKSTART, changes):
        words = shlex.split(command.text)
        seen.append(pathlib.Path(words[0]).name)
        if words[0] == 'apt-get':
            assert words[1:] == ['update'] or missing_packages(words[2:]) == []
        elif words[0] == 'rabbitmqctl':
            rabbit.ctl(*words[1:])
        elif 'venv' in words or seen[-1] == 'pip':
            if NIGHTLY:
                pages.follow(shell, command)
        else:
            pages.follow(shell, command)
    assert {'apt-get', 'rabbitmqctl', 'pip', 'nova-cells', 'nova-cells-compute'} <= set(seen)
    assert not (workdir / 'quickstart').exists()


def missing_packages(words):
    """Return what of a command's packages Debian does not have installed here."""
    names = [word for word in words if not word.startswith('-')]
    assert 'rabbitmq-server' in names
    listed = subprocess.run(
        ['dpkg-query', '--show', '--showformat', '${Package} ${db:Status-Status}\n'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [name for name in names if '%s installed' % name not in listed.splitlines()]


def test_o8_the_quickstart_installs_what_there_is():
    [words] = [
        shlex.split(command.text)
        for command in pages.commands(QUICKSTART, {})
        if '/pip ' in command.text
    ]
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    [extra] = re.findall(r'^\.\[(\w+)\]$', words[-1])
    assert extra in setup['extras']
    assert (ROOT / words[words.index('-c') + 1]).exists()


@tools_needed
@pytest.mark.timeout(600)
def test_o8_the_readme_shows_what_the_demo_prints(shell):
    [command] = [one for one in pages.commands(README, {}) if one.text == 'tools/demo']
    assert command.output.endswith('All as it should be.')
    code, output = shell.type(command.text, seconds=580)
    assert code == 0, output
    assert '✘' not in output
    # How many instances a cell had is different each time.
    shown = pages.Command(command.text, without_numbers(command.output), again=False)
    assert shown.printed(without_numbers(output)), output[-2000:]


def without_numbers(text):
    return re.sub(r'\d+ *', '0 ', text)


@tools_needed
def test_o8_the_other_commands_of_the_readme_do_what_it_says(shell):
    found = pages.commands(README, {})
    assert [one.text for one in found[:2]] == ['tools/demo', 'tools/test']
    # The first is tested above, and the second is what runs this.
    for command in found[2:]:
        pages.follow(shell, command)
