import hypothesis
import pytest
from hypothesis import strategies as st

from cells import paths
from tests.unit import builders


@pytest.mark.parametrize(
    'name', ['api', 'cell-1', 'Zelle_ß', '東京', 'a;b', 'x' * paths.MAX_NAME_LENGTH]
)
def test_a_cell_may_have_any_name_that_a_path_can_hold(name):
    assert paths.check_name(name) == name


@pytest.mark.parametrize(
    'name',
    [
        '',
        None,
        5,
        b'api',
        'a!b',
        'a@b',
        'a.b',
        'a b',
        'a\n',
        '\ta',
        'a\u2003b',
        'a\x00b',
        'a\x7fb',
        'x' * (paths.MAX_NAME_LENGTH + 1),
    ],
)
def test_r11_a_name_that_would_break_a_path_is_refused(name):
    with pytest.raises(ValueError, match='cell name'):
        paths.check_name(name)
    with pytest.raises(ValueError, match='cell name'):
        paths.CellPath(('api', name))


def test_a_path_has_at_least_one_cell():
    with pytest.raises(ValueError, match='at least one'):
        paths.CellPath(())


@pytest.mark.parametrize('text', [None, 7, ['api'], '', '!', 'api!', '!api', 'api!!leaf', 'api@x'])
def test_what_is_not_a_path_is_not_parsed(text):
    with pytest.raises(ValueError, match='cell'):
        paths.CellPath.parse(text)


@hypothesis.given(builders.PATHS)
def test_a_path_survives_being_written_and_read(path):
    assert paths.CellPath.parse(str(path)) == path
    assert len(str(path).split('!')) == len(path)


@hypothesis.given(builders.PATHS, builders.NAMES)
def test_a_hop_makes_a_longer_path_that_starts_with_the_old_one(path, name):
    longer = path.hopped(name)
    assert longer.last == name
    assert longer.starts_with(path)
    assert not path.starts_with(longer)


@hypothesis.given(builders.PATHS)
def test_the_way_back_of_the_way_back_is_the_way(path):
    back = path.backwards()
    assert back.names[0] == path.last
    assert back.backwards() == path


@pytest.mark.parametrize(
    ('path', 'beginning', 'expected'),
    [
        ('a!b!c', 'a', True),
        ('a!b!c', 'a!b', True),
        ('a!b!c', 'a!b!c', True),
        ('a!b!c', 'b', False),
        ('a!b', 'a!b!c', False),
        ('ab!c', 'a', False),
    ],
)
def test_a_beginning_is_made_of_whole_names(path, beginning, expected):
    parse = paths.CellPath.parse
    assert parse(path).starts_with(parse(beginning)) is expected


@hypothesis.given(builders.PATHS, st.text().filter(lambda item: '@' not in item))
def test_an_item_named_with_its_cell_is_split_again(path, item):
    assert paths.split_item(paths.with_cell(path, item)) == (path, item)


@pytest.mark.parametrize(
    ('text', 'path', 'item'),
    [('host1', None, 'host1'), ('', None, ''), ('api!leaf@host1', 'api!leaf', 'host1')],
)
def test_r14_an_item_without_a_cell_has_no_path(text, path, item):
    found = paths.split_item(text)
    assert found == (path and paths.CellPath.parse(path), item)


@pytest.mark.parametrize('text', ['@host', 'a@b@host', 'api!@host', 'a b@host'])
def test_r14_an_item_behind_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match='cell'):
        paths.split_item(text)


@hypothesis.given(st.text(st.sampled_from('ab!@. é') | st.characters()))
def test_r14_any_text_is_split_without_a_loss_or_refused(text):
    try:
        path, item = paths.split_item(text)
    except ValueError:
        return
    assert (item if path is None else paths.with_cell(path, item)) == text
