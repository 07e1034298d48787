"""What nova-cells-manage says of its commands: each has an example, which can be typed."""

import pathlib
import shlex
import subprocess
import sys
from importlib import metadata

import pytest

from cells.cmd.manage import app, base

COMMANDS = {
    entry.name.replace('_', ' '): entry for entry in metadata.entry_points(group=app.NAMESPACE)
}


@pytest.fixture
def program():
    return app.ManageApp()


@pytest.mark.parametrize('name', COMMANDS)
def test_o8_each_command_has_an_example_that_can_be_typed(program, name):
    command = COMMANDS[name].load()(program, None, name)
    assert isinstance(command, base.Command)
    parser = command.get_parser('nova-cells-manage %s' % name)
    shown = parser.format_help()
    _, found, example = shown.partition('Example: nova-cells-manage ')
    assert found, shown
    assert shown.index('Example:') > shown.index('options:')
    words = shlex.split(example.replace('\\\n', ' ').partition('|')[0])
    options, words = program.parser.parse_known_args(words)
    assert options.config_file, 'an example names the configuration of a cell'
    assert words[: len(name.split())] == name.split()
    parser.parse_args(words[len(name.split()) :])


def run(*arguments):
    program = pathlib.Path(sys.executable).parent / 'nova-cells-manage'
    return subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_without_a_command_the_commands_are_listed():
    shown = run()
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)


def test_a_time_limit_that_cannot_be_one_is_refused():
    refused = run('--timeout', 'soon', 'db', 'version')
    assert refused.returncode == 2
    assert "'soon' is not a number of seconds from 1 to 3600" in refused.stderr


@pytest.mark.parametrize(
    'words',
    [
        ['cell', 'create', 'leaf', 'URL'],
        ['cell', 'list', 'URL'],
        ['db', 'purge', '--days', 'URL'],
        ['--timeout', 'URL', 'cell', 'list'],
        ['cell', 'make', 'leaf', 'URL'],
        ['URL'],
        ['URL', '--help'],
        ['cell', '--json', 'create', 'URL'],
        ['--json', 'URL', 'cell', 'list'],
        ['help', 'clel', 'URL'],
        ['complete', 'URL'],
        ['complete', '--shell', 'URL'],
    ],
)
def test_a_url_in_the_wrong_place_is_refused_without_its_password(words):
    url = 'rabbit://cells:s3c/r@t s3c@broker:5672/leaf'
    refused = run(*(url if word == 'URL' else word for word in words))
    assert refused.returncode == 2
    assert 'rabbit://***@broker:5672/leaf' in refused.stderr
    assert 's3c' not in refused.stdout + refused.stderr


def test_words_that_are_no_command_are_told_with_what_may_be_meant():
    refused = run('cell', 'lits')
    assert (refused.returncode, refused.stdout) == (2, '')
    assert 'cell lits is no command of nova-cells-manage. Did you mean: cell list' in refused.stderr


@pytest.mark.parametrize(
    ('words', 'meant'),
    [
        (['topolgy'], 'topology?'),
        (['topolgy', 'api!region-1'], 'topology?'),
        (['sevice', 'list'], 'service list, '),
        (['db'], 'db check, db purge, db sync, db version?'),
        (['cell'], 'cell alias-delete, cell alias-list, cell create, '),
        (['help', 'topolgy'], 'topology?'),
    ],
)
def test_commands_that_are_like_what_was_typed_are_shown(words, meant):
    refused = run(*words)
    assert refused.returncode == 2
    assert 'Did you mean: %s' % meant in refused.stderr
