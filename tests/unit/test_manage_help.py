"""What nova-cells-manage says of its commands: each has an example, which can be typed."""

import shlex
from importlib import metadata

import pytest

from cells.cmd.manage import app, base

COMMANDS = {
    entry.name.replace('_', ' '): entry for entry in metadata.entry_points(group=app.NAMESPACE)
}


@pytest.fixture
def program(capsys):
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


def test_without_a_command_the_commands_are_listed(program, capsys):
    with pytest.raises(SystemExit) as ended:
        program.run([])
    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_a_time_limit_that_cannot_be_one_is_refused(program, capsys):
    with pytest.raises(SystemExit) as ended:
        program.run(['--timeout', 'soon', 'db', 'version'])
    assert ended.value.code == 2
    assert "'soon' is not a number of seconds from 1 to 3600" in capsys.readouterr().err
