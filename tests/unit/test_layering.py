"""What may know what: checked on the source, not on what happens to be loaded."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

import cells

ROOT = pathlib.Path(cells.__file__).parent
FILES = {
    '.'.join(('cells', *path.relative_to(ROOT).with_suffix('').parts)).removesuffix(
        '.__init__'
    ): path
    for path in sorted(ROOT.rglob('*.py'))
}

#: Modules that decide: values in, values out.
PURE = [
    'candidates',
    'capacity',
    'deadlines',
    'messages',
    'operations',
    'paths',
    'remote_errors',
    'replies',
    'routing',
    'scheduler',
    *(
        name.removeprefix('cells.')
        for name in FILES
        if name.startswith(('cells.filters.', 'cells.weights.'))
    ),
]


def imports(tree):
    """Yield (module, name or None) for every import statement, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'a relative import'
            yield from ((node.module, alias.name) for alias in node.names)


def tree_of(name):
    return ast.parse(FILES[name].read_text())


def roots(name):
    return {module.partition('.')[0] for module, _ in imports(tree_of(name))}


def inside(name):
    """Return the modules of the package that a module imports."""
    found = set()
    for module, item in imports(tree_of(name)):
        if module.partition('.')[0] == 'cells':
            whole = '%s.%s' % (module, item)
            found.add(whole if whole in FILES else module)
    return found - {name}


def test_imports_within_the_package_go_one_way():
    graph = {name: inside(name) for name in FILES}
    assert graph['cells.routing'] >= {'cells.exceptions', 'cells.paths', 'cells.operations'}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail('these import each other: ' + ' -> '.join(error.args[1]))


def test_every_import_of_the_package_names_a_module_that_is_there():
    assert {module for name in FILES for module in inside(name)} <= FILES.keys()


@pytest.mark.parametrize('name', PURE)
def test_what_decides_knows_no_library_no_clock_and_no_configuration(name):
    assert roots('cells.' + name) <= sys.stdlib_module_names | {'cells'}
    assert not roots('cells.' + name) & {'time', 'datetime', 'random', 'logging', 'os'}


def test_the_global_configuration_object_is_not_used():
    assert FILES
    assert [name for name, path in FILES.items() if 'cfg.CONF' in path.read_text()] == []


def test_only_the_programs_know_eventlet():
    found = [name for name in FILES if 'eventlet' in roots(name)]
    assert found
    assert all(name.startswith('cells.cmd.') for name in found)


def test_only_the_programs_import_late():
    late = {
        name
        for name in FILES
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for _ in imports(node)
    }
    assert all(name.startswith('cells.cmd.') for name in late), late


LOADS = """
import socket, sys, threading, time
before = socket.socket, threading.Thread, threading.Lock, time.sleep
import cells.rpcapi
assert (socket.socket, threading.Thread, threading.Lock, time.sleep) == before
print(sorted({'sqlalchemy', 'oslo_db', 'alembic'} & set(sys.modules)))
"""

BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'eventlet':
            raise ModuleNotFoundError('No module named %r' % name, name=name)

sys.meta_path.insert(0, Block())
import cells.rpcapi
print(cells.rpcapi.CellsAPI.__name__)
"""


@pytest.mark.parametrize(
    ('program', 'output'), [(LOADS, '[]'), (BLOCKED, 'CellsAPI')], ids=['loads', 'no-eventlet']
)
def test_the_client_loads_no_database_patches_nothing_and_needs_no_eventlet(program, output):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, output), done.stderr
