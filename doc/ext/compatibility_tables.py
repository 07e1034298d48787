"""The tables of the page on compatibility, made of the tables that the code and the tests use.

Each function returns the lines of a ``list-table`` or list in reStructuredText. Nothing here
is written by hand, so that the page cannot say anything else than the code does.
"""

import ast
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from cells import operations, versions
from cells.client import forms

MARK: Final = 'needs_extensions'


class Marked(NamedTuple):
    """A test that needs what our cells add to nova's protocol, and why."""

    path: str
    test: str
    reason: str


def table(header: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> list[str]:
    """Return a ``list-table``."""
    lines = ['.. list-table::', '   :header-rows: 1', '   :widths: %s' % widths, '']
    for row in (header, *rows):
        for index, cell in enumerate(row):
            lines.append(('   %s - %s' % (' ' if index else '*', cell)).rstrip())
    return [*lines, '']


def release_of(version: str) -> str:
    """Return the first release whose manager knows an RPC version."""
    return next(
        release for release, cap in versions.RELEASE_CAPS.items() if versions.allows(cap, version)
    )


def methods() -> list[str]:
    """Return each method of the contract and what is sent of it under which cap."""
    rows = []
    for name, known in sorted(forms.FORMS.items()):
        first = known[-1].version
        title = '``%s`` (%s, %s)' % (name, first, release_of(first))
        for form, span in zip(known, _spans(known), strict=True):
            rows.append((title, span, form.version, form.change or 'all'))
            title = ''
    header = ('Method (first version, first release)', 'Cap', 'Version sent', 'Arguments')
    return table(header, rows, '38 16 12 34')


def _spans(known: Sequence[forms.Form]) -> Iterator[str]:
    """Yield the caps under which each form is sent."""
    highest = None
    for form in known:
        if highest is None:
            yield 'none, or from %s' % form.version
        elif highest == form.version:
            yield form.version
        else:
            yield '%s to %s' % (form.version, highest)
        highest = '1.%d' % (versions.minor(form.version) - 1)


def caps() -> list[str]:
    """Return each release as a cap, and the versions it stands for."""
    rows = []
    for release, cap in versions.RELEASE_CAPS.items():
        objects = versions.OBJECT_VERSIONS[str(versions.cap_release(release))]
        rows.append(('``%s``' % release, cap, objects['Instance']))
    return table(('``[upgrade_levels] cells``', 'RPC', 'Instance'), rows, '40 30 30')


def objects() -> list[str]:
    """Return each object and its version in each release."""
    releases = list(versions.OBJECT_VERSIONS)
    names = sorted({name for known in versions.OBJECT_VERSIONS.values() for name in known})
    rows = [
        ('``%s``' % name, *(versions.OBJECT_VERSIONS[one].get(name, '–') for one in releases))
        for name in names
    ]
    widths = ' '.join(['24', *['7'] * len(releases)])
    return table(('Object', *releases), rows, widths)


def later() -> list[str]:
    """Return what the manager takes beyond what clients of ours send."""
    return ['* %s: %s' % item for item in versions.LATER_HISTORY.items()] + ['']


def extensions() -> list[str]:
    """Return the operations between cells that a plain nova-cells does not have."""
    rows = [
        (
            '``%s``' % row.name,
            {operations.Direction.UP: 'up', operations.Direction.DOWN: 'down', None: 'both'}[
                row.direction
            ],
            'yes' if row.replies else 'no',
        )
        for row in operations.OPERATIONS.values()
        if row.extension
    ]
    return table(('Operation', 'Way', 'Answered'), sorted(rows), '50 25 25')


# -- tests that need our additions --


def needs_extensions(tests: pathlib.Path) -> list[str]:
    """Return the tests that are marked, with their reasons.

    :param tests: the directory of all tests.
    :raises ValueError: a mark gives no reason.
    """
    lines = []
    for one in marked(tests):
        lines.append('* ``%s``: ``%s``: %s' % (one.path, one.test, one.reason))
    return [*(lines or ['There are none.']), '']


def marked(tests: pathlib.Path) -> list[Marked]:
    """Return all tests that carry the mark, in the order of files.

    The mark may stand as a decorator, among the ``marks`` of a parameter, in ``pytestmark``,
    or under a name that one of these uses.

    :raises ValueError: a mark gives no reason.
    """
    if not tests.is_dir():
        raise ValueError('%s is no directory of tests' % tests)
    sources = {path: path.read_text('utf-8') for path in sorted(tests.rglob('*.py'))}
    direct = [ast.parse(source) for source in sources.values() if MARK in source]
    assigned = [pair for tree in direct for pair in _assigned(tree)]
    names = {name: value for name, value in assigned if _is_mark(value)}
    texts = {name: value for name, value in assigned if isinstance(value, ast.Constant)}
    found = []
    for path, source in sources.items():
        if not any(word in source for word in (MARK, *names)):
            continue
        where, tree = str(path.relative_to(tests.parent)), ast.parse(source)
        for test, call in _uses(tree, names):
            found.append(Marked(where, test, _reason(call, where, texts)))
    return found


def _is_mark(node: ast.AST) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    return isinstance(called, ast.Attribute) and called.attr == MARK


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a module gives to values."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _uses(tree: ast.Module, names: dict[str, ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == 'pytestmark' for target in node.targets
        ):
            yield from (('all tests', one) for one in _marks_in([node.value], names))
        elif isinstance(node, ast.FunctionDef):
            yield from ((node.name, one) for one in _marks_in(node.decorator_list, names))
        elif isinstance(node, ast.ClassDef):
            yield from ((node.name, one) for one in _marks_in(node.decorator_list, names))
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    test = '%s.%s' % (node.name, inner.name)
                    yield from ((test, one) for one in _marks_in(inner.decorator_list, names))


def _marks_in(nodes: Iterable[ast.AST], names: dict[str, ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        if _is_mark(node):
            yield node
        elif isinstance(node, ast.Name) and node.id in names:
            yield names[node.id]
        else:
            yield from _marks_in(ast.iter_child_nodes(node), names)


def _reason(mark: ast.AST, where: str, texts: Mapping[str, ast.Constant]) -> str:
    given = (
        [*mark.args, *(one.value for one in mark.keywords)] if isinstance(mark, ast.Call) else []
    )
    first = given[0] if given else None
    if isinstance(first, ast.Name):
        first = texts.get(first.id)
    text = first.value if isinstance(first, ast.Constant) else None
    if not isinstance(text, str) or not text.strip():
        line = getattr(mark, 'lineno', 0)
        raise ValueError('%s:%d: the mark %s gives no reason' % (where, line, MARK))
    return ' '.join(text.split())
