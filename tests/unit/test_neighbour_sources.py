import json
import math
import string
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_messaging import transport as messaging_transport

from cells import exceptions, neighbour_sources, state
from cells.db import engine, migration, neighbours

SECRET = 's3cr3t'
URL = 'rabbit://nova:%s@broker:5672/child' % SECRET
DEFAULTS = {'is_parent': False, 'weight_offset': 0.0, 'weight_scale': 1.0, 'api_url': None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'cells.json'


@pytest.fixture
def read(path):
    """Write a text, or what is JSON, to the file and read the neighbours from it."""

    def read(content):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, 'utf-8')
        return neighbour_sources.FileSource(str(path)).read()

    return read


@pytest.fixture
def database(tmp_path):
    made = engine.Database('sqlite:///%s' % (tmp_path / 'cells.sqlite'))
    migration.sync(made)
    yield made
    made.dispose()


# -- the file --


def test_d9_in_a_file_only_the_url_must_be_given(read):
    assert read({'leaf': {'transport_url': URL}}) == [
        {'name': 'leaf', 'transport_url': URL, **DEFAULTS}
    ]


def test_a_file_says_everything_that_a_row_does(read):
    values = {
        'transport_url': URL,
        'is_parent': True,
        'weight_offset': -3,
        'weight_scale': 2.5,
        'api_url': 'http://x',
    }
    [found] = read({'größe': values})
    assert found == {'name': 'größe', **values}
    assert type(found['weight_offset']) is float


def test_what_a_newer_version_writes_into_the_file_is_no_error(read):
    [found] = read({'leaf': {'transport_url': URL, 'colour': 'blue'}})
    assert 'colour' not in found


def test_a_file_without_neighbours_is_a_tree(read):
    assert read({}) == []


@pytest.mark.parametrize(
    ('word', 'meant'), [('0', False), ('1', True), (0, False), (1, True), (True, True)]
)
def test_nova_wrote_is_parent_as_a_number_or_as_a_text(read, word, meant):
    [found] = read({'leaf': {'transport_url': URL, 'is_parent': word}})
    assert found['is_parent'] is meant


@pytest.mark.parametrize(
    ('content', 'text'),
    [
        pytest.param('', 'is not JSON', id='empty'),
        pytest.param('{"leaf": {"transport_url": "%s"' % URL, 'is not JSON', id='half-written'),
        pytest.param(b'\xff\xfe{}', 'is not JSON', id='not UTF-8'),
        pytest.param('[' * 100_000, 'is not JSON', id='deep'),
        pytest.param('1' * 5000, 'is not JSON', id='long number'),
        pytest.param([], 'is not an object', id='a list'),
        pytest.param(None, 'is not an object', id='null'),
        pytest.param('"text"', 'is not an object', id='a text'),
        pytest.param({'leaf': URL}, 'neighbour leaf is not an object', id='a url alone'),
        pytest.param({'leaf': None}, 'neighbour leaf is not an object', id='null for a cell'),
        pytest.param({'leaf': {}}, 'leaf: transport_url is missing', id='no url'),
        pytest.param({'leaf': {'transport_url': 7}}, 'leaf: transport_url', id='url a number'),
        pytest.param({'leaf': {'transport_url': None}}, 'leaf: transport_url', id='url null'),
        pytest.param(
            '{"leaf": {"transport_url": "fake://a"}, "leaf": {"transport_url": "fake://b"}}',
            'leaf',
            id='twins',
        ),
    ],
)
def test_d9_a_file_that_describes_no_neighbours_is_refused_by_name(read, path, content, text):
    with pytest.raises(ValueError, match='cells.json.*%s' % text) as caught:
        read(content)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('is_parent', 'yes'),
        ('is_parent', None),
        ('is_parent', 2),
        ('is_parent', []),
        ('weight_offset', '1'),
        ('weight_offset', True),
        ('weight_offset', None),
        ('weight_scale', []),
        ('weight_scale', math.nan),
        ('weight_scale', math.inf),
        ('weight_offset', 10**400),
        ('api_url', 5),
        ('api_url', 'http://a\0b'),
        ('transport_url', 'rabbit://nova:\ud800%s@h/' % SECRET),
        ('transport_url', 'rabbit://nova:\0%s@h/' % SECRET),
        ('transport_url', 'rabbit://nova:%s@h/%s' % (SECRET, 'x' * 70_000)),
    ],
)
def test_d9_a_value_of_a_wrong_type_is_named_with_its_cell(read, key, value):
    with pytest.raises(ValueError, match='neighbour leaf: %s' % key) as caught:
        read({'leaf': {'transport_url': URL, key: value}})
    assert SECRET not in str(caught.value)


def test_d9_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(ValueError, match='nowhere.json cannot be read: No such file'):
        neighbour_sources.FileSource(str(tmp_path / 'nowhere.json')).read()
    with pytest.raises(ValueError, match='cannot be read: Is a directory'):
        neighbour_sources.FileSource(str(tmp_path)).read()


def test_only_the_table_can_be_changed_through_the_service(database, path):
    assert neighbour_sources.TableSource(database).editable
    assert not neighbour_sources.FileSource(str(path)).editable


def test_the_table_gives_what_the_file_gives(database, read):
    values = {'transport_url': URL, 'is_parent': True, 'weight_offset': 1.5, 'weight_scale': 2.0}
    neighbours.cell_create(database, {'name': 'up', **values})
    [row] = neighbour_sources.TableSource(database).read()
    [other] = read({'up': values})
    assert {key: row[key] for key in other} == other


# -- what may be made --


def new(values, **arguments):
    arguments = {'own_name': 'mid', 'is_top': False, 'parents': (), **arguments}
    return neighbour_sources.new_values(values, **arguments)


ILLEGAL = ['a!b', 'a@b', 'a.b', 'a b', 'a\tb', 'a\0', '\ud800', 'x' * 256, '', None, 5, ['a']]


@pytest.mark.parametrize('name', ILLEGAL)
def test_r11_a_cell_cannot_be_made_with_an_illegal_name(name):
    with pytest.raises(exceptions.Invalid, match='cell name'):
        new({'name': name, 'transport_url': URL})
    with pytest.raises(exceptions.Invalid, match='cell name'):
        new({'name': name}, complete=False)


def test_r11_a_cell_cannot_be_made_without_a_name():
    with pytest.raises(exceptions.Invalid, match='cell name'):
        new({'transport_url': URL})


@pytest.mark.parametrize('name', [name for name in ILLEGAL if isinstance(name, str)])
def test_r11_the_file_and_the_service_refuse_a_name_in_the_same_words(read, name):
    with pytest.raises(exceptions.Invalid) as service:
        new({'name': name, 'transport_url': URL})
    # As text: json.dumps would write what cannot be encoded as an escape all the same.
    rows = read({name: {'transport_url': URL}})
    with pytest.raises(ValueError, match='cell name') as file:
        state.topology_of(state.Place('mid', standalone=True), rows)
    assert str(file.value) in str(service.value)


def test_r11_the_file_and_the_service_refuse_the_own_name_in_the_same_words(read):
    with pytest.raises(exceptions.Invalid, match='mid is the name of this cell itself'):
        new({'name': 'mid', 'transport_url': URL})
    rows = read({'mid': {'transport_url': URL}})
    with pytest.raises(ValueError, match='mid is the name of this cell itself'):
        state.topology_of(state.Place('mid', standalone=True), rows)


def test_r11_the_file_and_the_table_refuse_a_second_cell_of_a_name_in_the_same_words(
    read, database
):
    text = 'Cell with name leaf already exists'
    neighbours.cell_create(database, new({'name': 'leaf', 'transport_url': URL}))
    with pytest.raises(exceptions.CellExists, match=text):
        neighbours.cell_create(database, new({'name': 'leaf', 'transport_url': URL}))
    with pytest.raises(ValueError, match=text):
        read('{"leaf": {"transport_url": "fake://a"}, "leaf": {"transport_url": "fake://b"}}')
    rows = read({'leaf': {'transport_url': URL}})
    with pytest.raises(ValueError, match=text):
        state.topology_of(state.Place('mid', standalone=True), rows * 2)


def test_r11_names_may_have_any_letters():
    assert new({'name': 'größe-漢字_1', 'transport_url': URL})['name'] == 'größe-漢字_1'


@pytest.mark.parametrize(
    'url',
    [
        '',
        'nonsense',
        'http://u:%s@h/' % SECRET,
        'rabbit://',
        'rabbit:///virtual_host',
        'rabbit://u:%s@:5672/' % SECRET,
        'rabbit://u:%s@a:5672,u:%s@:1/' % (SECRET, SECRET),
        'rabbit://u:%s@h:port/' % SECRET,
        'rabbit://u:%s@h:99999/' % SECRET,
        'rabbit://u:%s@[::1/' % SECRET,
        'rabbit://u:%s/x@h/' % SECRET,
        'rabbit://u:%s#x@h/' % SECRET,
        'rabbit://u:%s?x@h/' % SECRET,
        'rabbit://u:%s,x@h/' % SECRET,
        'rabbit://u:%s@h\n/' % SECRET,
    ],
)
def test_d12_a_url_that_does_not_say_where_is_refused_and_not_shown(url):
    for complete in (True, False):
        with pytest.raises(exceptions.Invalid, match='transport_url') as caught:
            new({'name': 'leaf', 'transport_url': url}, complete=complete)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize('values', [None, [], 'name', 5, [('name', 'leaf')]])
def test_values_that_are_no_object_are_refused(values):
    with pytest.raises(exceptions.Invalid, match='not an object'):
        new(values)


def test_a_column_that_there_is_not_is_refused_and_those_that_there_are_are_named():
    text = 'no deleted, rpc_host; it has name, transport_url'
    with pytest.raises(exceptions.Invalid, match=text):
        new({'name': 'leaf', 'transport_url': URL, 'rpc_host': 'x', 'deleted': 1})
    with pytest.raises(exceptions.Invalid, match='a cell has no'):
        new({'name': 'leaf', 'transport_url': URL, 5: 'x'})


def test_a_change_holds_only_what_is_changed():
    assert new({'weight_offset': 5}, complete=False) == {'weight_offset': 5.0}
    assert new({}, complete=False) == {}


@pytest.mark.parametrize('complete', [True, False])
def test_r6_a_second_parent_is_refused_unless_it_is_allowed(complete):
    values = {'name': 'up2', 'transport_url': URL, 'is_parent': True}
    with pytest.raises(exceptions.Invalid, match='one parent; mid has up already'):
        new(values, parents=['up'], complete=complete)
    assert new(values, parents=['up'], many_parents=True, complete=complete)['is_parent']
    assert new(values, complete=complete)['is_parent']


def test_d11_the_top_gets_no_parent():
    with pytest.raises(exceptions.Invalid, match='top of the tree'):
        new({'name': 'up', 'transport_url': URL, 'is_parent': True}, is_top=True)


# -- credentials and brokers --

PRINTABLE = string.ascii_letters + string.digits + string.punctuation + ' '
PASSWORDS = st.text(
    st.sampled_from(PRINTABLE) | st.characters(exclude_categories=('Cs', 'Cc', 'Zl', 'Zp')),
    min_size=1,
    max_size=24,
)


@pytest.fixture(scope='module')
def shared_database(tmp_path_factory):
    made = engine.Database('sqlite:///%s' % (tmp_path_factory.mktemp('d12') / 'cells.sqlite'))
    migration.sync(made)
    yield made
    made.dispose()


@given(st.lists(PASSWORDS, min_size=1, max_size=5))
@example([PRINTABLE] * 5)
@example(['@', '/', '%', ':', '?'])
@example(['%40', '%2F', '%', '%%', '+ '])
def test_d12_d13_any_password_and_five_brokers_come_back_from_the_row(shared_database, passwords):
    hosts = [
        ('user-%d' % number, password, 'broker-%d' % number, 5672 + number)
        for number, password in enumerate(passwords)
    ]
    url = 'rabbit://%s/vhost' % ','.join(
        '%s:%s@%s:%d' % (user, urllib.parse.quote(password, ''), host, port)
        for user, password, host, port in hosts
    )
    values = new({'name': 'leaf', 'transport_url': url})
    neighbours.cell_delete(shared_database, 'leaf')
    row = neighbours.cell_create(shared_database, values)
    assert row['transport_url'] == url
    topology = state.topology_of(state.Place('api', is_top=True), [row])
    kept = topology.children['leaf'].transport_url
    parsed = messaging_transport.TransportURL.parse(cfg.ConfigOpts(), kept)
    found = [(host.username, host.password, host.hostname, host.port) for host in parsed.hosts]
    assert found == hosts
    assert parsed.virtual_host == 'vhost'
    first = neighbour_sources.first_host(kept)
    assert (first.username, first.hostname, first.port) == ('user-0', 'broker-0', 5672)
    info = topology.children['leaf'].info({})
    assert (info['username'], info['rpc_host'], info['rpc_port']) == ('user-0', 'broker-0', 5672)
    assert set(info) == {
        'name',
        'capabilities',
        'is_parent',
        'weight_scale',
        'weight_offset',
        'username',
        'rpc_host',
        'rpc_port',
    }


def test_d13_a_query_does_not_end_up_in_the_virtual_host():
    url = 'rabbit://u:p@a:1,u:p@b:2/vhost?ssl=1&ssl_version=TLSv1_2'
    parsed = messaging_transport.TransportURL.parse(
        cfg.ConfigOpts(), new({'name': 'leaf', 'transport_url': url})['transport_url']
    )
    assert parsed.virtual_host == 'vhost'
    assert parsed.query == {'ssl': '1', 'ssl_version': 'TLSv1_2'}
    assert [host.hostname for host in parsed.hosts] == ['a', 'b']
