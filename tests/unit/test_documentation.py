"""What the pages tell people to type is there: commands, arguments, options, files."""

import configparser
import pathlib
import re
import shlex

import pytest
from cliff import commandmanager
from oslo_config import cfg

from cells import conf as cells_conf
from cells import rpc

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / 'README.rst', *sorted((ROOT / 'doc' / 'source').glob('*.rst'))]

#: A whole command in a block, with the lines that go on with it.
TYPED = re.compile(r'^ +(?:\$ )?(nova-cells-manage (?:.*\\\n)*.*)$', re.MULTILINE)
#: A command that is named in a sentence.
NAMED = re.compile(
    r'``(?:nova-cells-manage )?'
    r'((?:cell|config|db|hypervisor|instance|journal|request|service|upgrade) [a-z-]+)\b'
)
FILE = re.compile(r':file:`([^`]+)`')
OPTION = re.compile(r'``\[(\w+)\] (\w+)')


def found(pattern):
    """Return what is on the pages, each with the name of its page."""
    return sorted({(page.name, one) for page in PAGES for one in pattern.findall(page.read_text())})


@pytest.fixture(scope='module')
def manager():
    return commandmanager.CommandManager('cells.manage')


def test_o8_every_command_that_is_to_be_typed_is_understood(manager, capsys):
    typed = found(TYPED)
    assert len(typed) > 5
    for page, text in typed:
        words = shlex.split(text.replace('\\\n', ' '))[1:]
        while words[0] in ('--config-file', '--timeout'):
            del words[:2]
        cls, name, arguments = manager.find_command(words)
        try:
            cls(None, None).get_parser(name).parse_args(arguments)
        except SystemExit:
            pytest.fail('%s: %s\n%s' % (page, text, capsys.readouterr().err))


def test_o8_every_command_that_is_named_is_there(manager):
    named = found(NAMED)
    assert ('operating.rst', 'db sync') in named
    assert [one for one in named if one[1] not in manager.commands] == []


def test_o8_every_option_that_is_named_is_there():
    conf = cfg.ConfigOpts()
    cells_conf.register_opts(conf)
    rpc.prepare(conf)
    conf([], default_config_files=[])
    named = {(group, name) for _, (group, name) in found(OPTION)}
    assert ('cells', 'queue_type') in named
    # Those of programs that have options of their own.
    others = {'process_driver', 'spool', 'oslo_messaging_notifications'}
    missing = [
        (group, name)
        for group, name in named
        if group not in others and name not in (conf if group == 'DEFAULT' else conf[group])
    ]
    assert missing == []


def test_o8_every_file_that_is_named_is_there():
    named = found(FILE)
    assert len(named) > 10
    made = ('doc/build/', '/etc/', '/var/')
    assert [
        (page, path)
        for page, path in named
        if not path.startswith(made) and not (ROOT / path).exists()
    ] == []


def test_every_page_is_reached_from_the_first():
    listed = (ROOT / 'doc' / 'source' / 'index.rst').read_text().split()
    assert {page.stem for page in PAGES[1:]} - {'index'} <= set(listed)


def test_every_example_is_shown_or_named_on_a_page():
    text = ''.join(page.read_text() for page in PAGES)
    examples = {path.name for path in (ROOT / 'examples').glob('*.py')}
    assert {name for name in examples if 'examples/%s' % name not in text} == set()


def test_the_tools_that_are_named_are_those_that_are_there():
    text = ''.join(page.read_text() for page in PAGES)
    tools = {path.name for path in (ROOT / 'tools').iterdir() if not path.suffix}
    assert set(re.findall(r'tools/(\w+)', text)) == tools


def test_the_environments_that_are_named_are_those_of_tox():
    tox = configparser.ConfigParser()
    tox.read(ROOT / 'tox.ini')
    named = {one for page in PAGES for one in re.findall(r'tox -e (\w+)', page.read_text())}
    assert named
    assert named <= {name.partition(':')[2] for name in tox.sections()}
