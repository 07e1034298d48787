"""The page on compatibility says what the code does: its tables, and what stands between them."""

import pathlib
import re
import sys

import pytest

from cells import operations, versions
from cells.client import forms
from tests.unit.test_conf import ON_PURPOSE

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'doc' / 'ext'))

import compatibility_tables as tables  # noqa: E402 - it lies beside the documentation

PAGE = (ROOT / 'doc' / 'source' / 'compatibility.rst').read_text(encoding='utf-8')


def rows_of(lines):
    """Return the rows of a list-table."""
    found = []
    for line in lines:
        match = re.fullmatch(r'   (\*| ) -(?: (.*))?', line)
        if match and match[1] == '*':
            found.append([])
        if match:
            found[-1].append(match[2] or '')
    assert len({len(row) for row in found}) == 1
    return found


def numbers(version):
    return tuple(int(part) for part in version.split('.'))


def test_each_method_and_each_cap_has_what_is_sent():
    rows = rows_of(tables.methods())[1:]
    said = {}
    name = None
    for title, caps, version, arguments in rows:
        name = title.split('``')[1] if title else name
        for cap in versions.RPC_HISTORY:
            first, _, last = caps.removeprefix('none, or from ').partition(' to ')
            last = last or (versions.RPC_VERSION if 'from' in caps else first)
            if numbers(first) <= numbers(cap) <= numbers(last):
                assert (name, cap) not in said
                said[name, cap] = (version, arguments)
    assert {name for name, _ in said} == forms.FORMS.keys()
    for name in forms.FORMS:
        for cap in versions.RPC_HISTORY:
            form = forms.form_of(name, cap)
            wanted = None if form is None else (form.version, form.change or 'all')
            assert said.get((name, cap)) == wanted


def test_the_first_release_of_a_method_is_the_first_that_knows_its_version():
    titles = [row[0] for row in rows_of(tables.methods())]
    assert '``start_instance`` (1.12, havana)' in titles
    assert '``service_get_all`` (1.2, grizzly)' in titles
    assert '``stop_instance`` (1.12, havana)' in titles
    assert '``get_keypair_at_top`` (1.37, liberty)' in titles


def test_each_object_and_each_release_has_its_version():
    header, *rows = rows_of(tables.objects())
    for row in rows:
        name = row[0].strip('`')
        for release, version in zip(header[1:], row[1:], strict=True):
            assert versions.OBJECT_VERSIONS[release].get(name, '–') == version
    assert len(rows) == len({row[0] for row in rows}) == len(versions.OBJECT_VERSIONS['stein'])


def test_every_release_is_a_cap():
    rows = rows_of(tables.caps())[1:]
    assert [(row[0].strip('`'), row[1]) for row in rows] == list(versions.RELEASE_CAPS.items())


def test_every_operation_of_ours_is_there():
    named = {row[0].strip('`') for row in rows_of(tables.extensions())[1:]}
    assert named == {row.name for row in operations.OPERATIONS.values() if row.extension}


def test_the_page_has_every_table_and_names_every_default_that_differs():
    used = re.findall(r'^\.\. compatibility:: (\S+)$', PAGE, re.MULTILINE)
    assert sorted(used) == sorted(
        ('caps', 'extensions', 'later', 'methods', 'needs-extensions', 'objects')
    )
    assert {name for name in ON_PURPOSE if '``%s``' % name not in PAGE} == set()


# -- tests that need what our cells add --


def write(directory, text):
    (directory / 'functional').mkdir(parents=True, exist_ok=True)
    (directory / 'functional' / 'test_x.py').write_text(text, encoding='utf-8')
    return directory


def test_a_mark_with_a_name_is_found_in_other_files(tmp_path):
    directory = write(
        tmp_path / 'tests', "import pytest\nX = pytest.mark.needs_extensions('why')\n"
    )
    (directory / 'test_y.py').write_text('from x import X\n@X\ndef test_y(): assert True\n')
    assert tables.marked(directory) == [('tests/test_y.py', 'test_y', 'why')]


def test_marks_are_found_wherever_they_may_stand(tmp_path):
    found = tables.marked(
        write(
            tmp_path / 'tests',
            """
import pytest
NAMED = pytest.mark.needs_extensions('by name')
@pytest.mark.needs_extensions('as a decorator')
def test_one(): assert True
@NAMED
@pytest.mark.other
def test_two(): assert True
@pytest.mark.parametrize('a', [
    pytest.param(1, marks=pytest.mark.needs_extensions(reason='of  a parameter')),
])
def test_three(a): assert a
class TestIt:
    @pytest.mark.needs_extensions('in a class')
    def test_four(self): assert True
WHY = 'with a ' 'named reason'
@pytest.mark.needs_extensions(WHY)
def test_six(): assert True
@pytest.mark.other('needs_extensions')
def test_five(): assert True
pytestmark = [pytest.mark.other, pytest.mark.needs_extensions('of the module')]
""",
        )
    )
    where = 'tests/functional/test_x.py'
    assert sorted(found) == [
        (where, 'TestIt.test_four', 'in a class'),
        (where, 'all tests', 'of the module'),
        (where, 'test_one', 'as a decorator'),
        (where, 'test_six', 'with a named reason'),
        (where, 'test_three', 'of a parameter'),
        (where, 'test_two', 'by name'),
    ]
    lines = tables.needs_extensions(tmp_path / 'tests')
    assert '* ``%s``: ``test_one``: as a decorator' % where in lines


@pytest.mark.parametrize('mark', ['needs_extensions', 'needs_extensions()', "needs_extensions('')"])
def test_a_mark_without_a_reason_is_refused(tmp_path, mark):
    directory = write(
        tmp_path / 'tests', 'import pytest\n@pytest.mark.%s\ndef test_x(): assert 1\n' % mark
    )
    with pytest.raises(ValueError, match=r'test_x\.py:2: the mark needs_extensions gives no'):
        tables.needs_extensions(directory)


def test_tests_that_are_not_there_are_not_taken_for_none(tmp_path):
    with pytest.raises(ValueError, match='no directory of tests'):
        tables.needs_extensions(tmp_path / 'nowhere')


def test_the_marks_of_our_own_tests_have_reasons():
    for one in tables.marked(ROOT / 'tests'):
        assert len(one.reason.split()) >= 3, one
        assert (ROOT / one.path).is_file()
