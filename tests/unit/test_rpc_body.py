import json

import hypothesis
import pytest
from hypothesis import strategies as st

from cells import exceptions, rpc_body
from tests.unit import builders

MOST = 1000


def body(**values):
    """Return a body as oslo.messaging writes it."""
    content = {'method': 'ask', 'args': {'a': 1}, **values}
    return json.dumps({'oslo.version': '2.0', 'oslo.message': json.dumps(content)})


@pytest.mark.parametrize('convert', [str, str.encode, lambda text: memoryview(text.encode())])
def test_what_oslo_messaging_sends_is_understood_in_every_form(convert):
    found = rpc_body.content(convert(body(_unique_id='u', namespace='n', _context_user='ü')), MOST)
    assert found == {
        'method': 'ask',
        'args': {'a': 1},
        'version': '1.0',
        '_unique_id': 'u',
        'namespace': 'n',
        '_context_user': 'ü',
    }


def test_whole_numbers_keep_their_digits():
    assert rpc_body.content(body(args={'a': 2**70}), MOST)['args'] == {'a': 2**70}


def test_a_body_without_an_envelope_is_understood():
    assert rpc_body.content(b'{"method": "ask"}', MOST)['args'] == {}


@pytest.mark.parametrize(
    ('sent', 'reason'),
    [
        (b'\xff', 'not text'),
        (b'', 'not JSON'),
        (b'[]', 'no method'),
        (b'{"oslo.message": "{}"}', 'oslo.version'),
        (b'{"oslo.version": 2, "oslo.message": "{}"}', 'oslo.version'),
        (b'{"oslo.version": "3.0", "oslo.message": "{}"}', 'oslo.version'),
        (b'{"oslo.version": "2.0", "oslo.message": {}}', 'oslo.message'),
        (body(method=None), 'no method'),
        (body(method=['ask']), 'no method'),
        (body(args=[]), 'arguments'),
        (body(version=[1]), 'version'),
        (body(version='1'), 'version'),
        (body(version='1.0\n'), 'version'),
        (body(version='1.' + '9' * 9), 'version'),
        (body(_unique_id=7), '_unique_id'),
        (body(_unique_id=''), '_unique_id'),
        (body(_msg_id='x' * 200), '_msg_id'),
        (body(_reply_q={'a': 1}), '_reply_q'),
        (body(_timeout='5'), '_timeout'),
        (body(_timeout=True), '_timeout'),
        (body(args={'a': 'x' * MOST}), 'at most 1000'),
        (b'[' * 999, 'JSON'),
    ],
)
def test_what_is_no_rpc_is_refused_with_the_reason(sent, reason):
    with pytest.raises(exceptions.InvalidMessage, match=reason) as raised:
        rpc_body.content(sent, MOST)
    assert len(str(raised.value)) < 200


KEYS = st.sampled_from(
    ['method', 'args', 'version', 'namespace', '_unique_id', '_msg_id', '_reply_q', '_timeout']
)


@hypothesis.given(st.dictionaries(KEYS, builders.JSON, max_size=3))
def test_rubbish_in_place_of_a_value_is_taken_or_refused_and_nothing_worse(values):
    try:
        found = rpc_body.content(body(**values), 10**6)
    except exceptions.InvalidMessage:
        return
    assert isinstance(found['method'], str)
    assert isinstance(found['args'], dict)


@hypothesis.given(st.binary() | st.text())
def test_rubbish_is_refused_and_nothing_worse(sent):
    with pytest.raises(exceptions.InvalidMessage):
        rpc_body.content(sent, 10**6)
