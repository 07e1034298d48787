import copy

import hypothesis
import pytest
from hypothesis import strategies as st

from cells import context
from tests.unit import builders

#: What mitaka puts into a context, and what later releases added.
KEYS = """
user_id project_id is_admin read_deleted roles remote_address timestamp request_id auth_token
quota_class user_name service_catalog project_name instance_lock_checked user tenant domain
user_domain project_domain read_only show_deleted resource_uuid user_identity
project global_request_id system_scope is_admin_project
"""
CONTRACT = set(KEYS.split())

WIRE = {
    'user_id': 'u1',
    'project_id': 'p1',
    'is_admin': True,
    'roles': ['admin'],
    'read_deleted': 'only',
    'request_id': 'req-1',
    'timestamp': '2016-03-01T12:00:00.000000',
    'auth_token': None,
    'from_a_later_release': {'a': [1]},
}


def test_a_context_from_the_wire_reads_as_it_was_sent():
    found = context.RequestContext.from_wire(WIRE)
    assert (found.user_id, found.project_id, found.is_admin) == ('u1', 'p1', True)
    assert (found.roles, found.read_deleted, found.request_id) == (['admin'], 'only', 'req-1')
    assert found.timestamp == '2016-03-01T12:00:00.000000'


def test_a_context_of_an_old_release_reads_the_same():
    found = context.RequestContext.from_wire({'user': 'u1', 'tenant': 'p1'})
    assert (found.user_id, found.project_id) == ('u1', 'p1')
    assert (found.is_admin, found.read_deleted) == (False, 'no')


@pytest.mark.parametrize('value', ['x', '', None, 5, True, ['yes'], {'yes': 1}])
def test_what_may_be_seen_of_what_is_deleted_is_one_of_three_words(value):
    found = context.RequestContext.from_wire({**WIRE, 'read_deleted': value})
    assert found.read_deleted == 'no'
    assert found.to_dict()['read_deleted'] == value


@hypothesis.given(
    st.dictionaries(
        (st.sampled_from(sorted(CONTRACT)) | builders.TEXT).filter(
            lambda key: key != context.DELIVERY_ID
        ),
        builders.JSON,
        max_size=6,
    )
)
@hypothesis.example(WIRE)
def test_what_came_goes_on_with_the_keys_that_nobody_knows(wire):
    before = copy.deepcopy(wire)
    sent = context.RequestContext.from_wire(wire).to_dict()
    assert sent == before
    sent['added'] = True
    assert wire == before


def test_the_id_of_a_delivery_is_read_and_never_sent_on():
    arrived = {**WIRE, context.DELIVERY_ID: 'delivery-1'}
    found = context.RequestContext.from_wire(arrived)
    assert found.delivery_id == 'delivery-1'
    assert found.to_dict() == WIRE
    made = context.RequestContext('u1', 'p1', delivery_id='delivery-1')
    assert 'delivery-1' not in made.to_dict().values()


def test_a_context_that_is_made_here_has_every_key_of_the_contract():
    sent = context.RequestContext('u1', 'p1', read_deleted='yes').to_dict()
    assert sent.keys() == CONTRACT
    assert (sent['user_id'], sent['user']) == ('u1', 'u1')
    assert (sent['project_id'], sent['tenant']) == ('p1', 'p1')
    assert sent['read_deleted'] == 'yes'
    again = context.RequestContext.from_wire(sent)
    assert again.request_id == sent['request_id']


@pytest.mark.parametrize('ctxt', [{}, WIRE, {**WIRE, 'auth_token': 'secret'}])
def test_beside_an_envelope_only_what_names_the_request_is_sent(ctxt):
    assert context.rpc_context(ctxt) == {
        'user_id': ctxt.get('user_id'),
        'project_id': ctxt.get('project_id'),
        'request_id': ctxt.get('request_id'),
        'is_admin': False,
    }


@pytest.mark.parametrize(
    'text',
    [
        '2016-03-01T12:00:00.000000',
        '2016-03-01T12:00:00',
        '2016-03-01 12:00:00',
        '2016-03-01T12:00:00Z',
        '2016-03-01T13:00:00+01:00',
        '20160301T120000',
    ],
)
def test_v8_when_a_user_asked_is_read_in_every_form_that_releases_wrote(text):
    assert context.asked_at({'timestamp': text}) == 1456833600.0


@pytest.mark.parametrize('value', [None, '', 'yesterday', 5, [], {}, '2016-13-01'])
def test_v8_a_time_in_a_form_that_nobody_knows_is_none(value):
    assert context.asked_at({'timestamp': value}) is None
    assert context.asked_at({}) is None


def test_x4_an_answer_to_a_plain_cell_has_its_context_without_secrets():
    asked = {**WIRE, 'auth_token': 'secret', 'service_catalog': [{'type': 'volume'}]}
    found = context.plain_answer_context(asked)
    assert 'secret' not in repr(found)
    assert 'volume' not in repr(found)
    kept = {'auth_token': None, 'service_catalog': []}
    assert {**found, **kept} == {
        key: value for key, value in {**asked, **kept}.items() if key in CONTRACT
    }


@hypothesis.given(
    st.dictionaries(
        st.sampled_from(sorted(CONTRACT)) | st.text(max_size=5),
        st.text(min_size=300) | st.lists(st.text(), min_size=200) | builders.JSON,
        max_size=6,
    )
)
def test_r8_an_answer_to_a_plain_cell_does_not_grow_with_the_context(wire):
    for value in context.plain_answer_context(wire).values():
        for one in value if isinstance(value, list) else [value]:
            assert not isinstance(one, dict | list)
            assert len(str(one)) <= 255
        assert not isinstance(value, list) or len(value) <= 100


def test_an_answer_to_a_plain_cell_says_nothing_that_was_not_asked():
    assert context.plain_answer_context({}) == {}
