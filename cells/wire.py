"""Messages and answers to and from JSON: ``encode`` and ``decode`` are inverse.

The envelope is that of ``spec/intercell.json``. Ours adds one key,
``cells.x``; because a plain nova-cells drops it, what must survive one is
written behind the uuid as well: ``<uuid4>;w=<worker>;b=<budget>;t=<sent_at>``.
A plain cell hands that text back as ``response_uuid``.

Nothing here changes what it is given, and nothing but
:class:`~cells.exceptions.InvalidMessage` comes out of rubbish.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, Final, TypeGuard

from cells import exceptions, messages, paths
from cells.json_text import dumps, loads
from cells.messages import Extension, Failure, Message, Response
from cells.operations import Direction, Kind

EXTENSION_KEY: Final = 'cells.x'
#: Begins the names of operations that only cells of ours know.
OWN_PREFIX: Final = 'x_'
MAX_UUID_LENGTH: Final = 120
MAX_NAME_LENGTH: Final = 64
MAX_ID_LENGTH: Final = 36
MAX_SERVER_LENGTH: Final = 255
MAX_VERSION: Final = 10_000
#: A month; nobody waits longer.
MAX_BUDGET_MS: Final = 31 * 24 * 3600 * 1000
#: The last moment that a time in seconds can name, in the year 2286.
LATEST: Final = 1e10

_KINDS: Final[dict[str, type[Message]]] = {
    Kind.TARGETED.value: messages.TargetedMessage,
    Kind.BROADCAST.value: messages.BroadcastMessage,
    Kind.RESPONSE.value: messages.ResponseMessage,
}
_WORDS: Final = {cls: word for word, cls in _KINDS.items()}
_DIRECTIONS: Final = {direction.value: direction for direction in Direction}

_COMMON: Final = frozenset(
    (
        'message_type',
        'ctxt',
        'method_name',
        'method_kwargs',
        'direction',
        'need_response',
        'fanout',
        'uuid',
        'routing_path',
        'hop_count',
        'max_hop_count',
    )
)
_KNOWN_KEYS: Final = {
    messages.TargetedMessage: _COMMON | {'target_cell', EXTENSION_KEY},
    messages.BroadcastMessage: _COMMON | {EXTENSION_KEY},
    messages.ResponseMessage: _COMMON | {'target_cell', 'response_uuid', EXTENSION_KEY},
}


def kind_of(message: Message) -> Kind:
    """Return the kind of a message."""
    return Kind(_WORDS[type(message)])


# -- messages --


def encode(message: Message) -> str:
    """Return the envelope of a message as text."""
    envelope: dict[str, Any] = {
        'message_type': _WORDS[type(message)],
        'ctxt': message.ctxt,
        'method_name': message.method_name,
        'method_kwargs': message.method_kwargs,
        'direction': message.direction.value,
        'need_response': message.need_response,
        'fanout': message.fanout,
        'uuid': message.uuid,
        'routing_path': str(message.routing_path),
        'hop_count': message.hop_count,
        'max_hop_count': message.max_hop_count,
    }
    if message.method_name.startswith(OWN_PREFIX):
        # Only cells of ours read it: what they take for granted is left out (P5).
        del envelope['hop_count']
        for key in ('fanout', 'max_hop_count'):
            if envelope[key] is None or envelope[key] is False:
                del envelope[key]
    if isinstance(message, messages.TargetedMessage):
        envelope['target_cell'] = str(message.target_cell)
    elif isinstance(message, messages.ResponseMessage):
        envelope['target_cell'] = str(message.target_cell)
        envelope['response_uuid'] = message.response_uuid
    envelope.update(message.unknown)
    x = message.extension
    if x is not None:
        envelope[EXTENSION_KEY] = {
            'v': x.version,
            't': x.sent_at,
            'b': x.budget_ms,
            'w': x.reply_server,
            'i': x.cell_id,
        }
    return dumps(envelope)


def decode(text: str, extensions: bool = True) -> Message:
    """Return the message that a text from a queue is.

    :param extensions: False: keys that a nova-cells does not know are lost, as there.
    :raises InvalidMessage: it is none; the text says what is wrong with it and, as far as
        it tells, from whom it came.
    """
    envelope = None
    try:
        envelope = loads(text, 'the envelope')
        if not isinstance(envelope, dict):
            raise exceptions.InvalidMessage(reason='the envelope is not an object')
        message = _message(envelope)
        return message if extensions else messages.without_extension(message)
    except exceptions.InvalidMessage as error:
        path = envelope.get('routing_path') if isinstance(envelope, dict) else None
        came = 'it came by %.80r' % path if isinstance(path, str) else 'from an unknown sender'
        raise exceptions.InvalidMessage(reason='%s (%s)' % (error.kwargs['reason'], came)) from None


def _message(envelope: dict[str, Any]) -> Message:
    cls = _KINDS.get(_typed(envelope, 'message_type', str))
    if cls is None:
        raise exceptions.InvalidMessage(
            reason='message_type is %.40r, known are %s'
            % (envelope['message_type'], ', '.join(_KINDS))
        )
    direction = _DIRECTIONS.get(_typed(envelope, 'direction', str))
    if direction is None:
        raise exceptions.InvalidMessage(
            reason='direction is %.40r, not up or down' % envelope['direction']
        )
    routing_path = _path(envelope, 'routing_path')
    hop_count = _typed(envelope, 'hop_count', int, len(routing_path))
    if hop_count != len(routing_path):
        raise exceptions.InvalidMessage(
            reason='hop_count is %.40r but routing_path has %d cells'
            % (hop_count, len(routing_path))
        )
    fields: dict[str, Any] = {
        'ctxt': _typed(envelope, 'ctxt', dict),
        'method_name': _text(envelope, 'method_name', MAX_NAME_LENGTH),
        'method_kwargs': _typed(envelope, 'method_kwargs', dict),
        'direction': direction,
        'need_response': _typed(envelope, 'need_response', bool, False),
        'fanout': _typed(envelope, 'fanout', bool, False),
        'uuid': _text(envelope, 'uuid', MAX_UUID_LENGTH),
        'routing_path': routing_path,
        'hop_count': hop_count,
        'max_hop_count': _typed(envelope, 'max_hop_count', int, None),
        'extension': _extension(envelope.get(EXTENSION_KEY)),
    }
    if cls is not messages.BroadcastMessage:
        fields['target_cell'] = _path(envelope, 'target_cell')
    if cls is messages.ResponseMessage:
        fields['response_uuid'] = _text(envelope, 'response_uuid', MAX_UUID_LENGTH)
    known = _KNOWN_KEYS[cls]
    if envelope.keys() - known:
        fields['unknown'] = {key: envelope[key] for key in envelope if key not in known}
    return cls(**fields)


def is_uuid(value: Any) -> bool:
    """Tell whether a value can be the uuid of a message: any text, as long as it is short."""
    return isinstance(value, str) and 0 < len(value) <= MAX_UUID_LENGTH and value.isprintable()


_REQUIRED: Final = object()


def _typed(envelope: dict[str, Any], key: str, cls: type, default: Any = _REQUIRED) -> Any:
    value = envelope.get(key)
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, cls) or (cls is int and isinstance(value, bool)):
        if key not in envelope:
            raise exceptions.InvalidMessage(reason='%s is missing' % key)
        raise exceptions.InvalidMessage(
            reason='%s is %.40r, not of type %s' % (key, value, cls.__name__)
        )
    return value


def _text(envelope: dict[str, Any], key: str, most: int) -> str:
    value: str = _typed(envelope, key, str)
    if not (0 < len(value) <= most and value.isprintable()):
        raise exceptions.InvalidMessage(
            reason='%s is %.40r, not 1 to %d printable characters' % (key, value, most)
        )
    return value


def _path(envelope: dict[str, Any], key: str) -> paths.CellPath:
    try:
        return paths.CellPath.parse(_typed(envelope, key, str))
    except ValueError as error:
        raise exceptions.InvalidMessage(reason='%s: %s' % (key, error)) from None


def _extension(value: Any) -> Extension | None:
    # Of a newer version than ours, or of somebody else's: then the sender counts as plain.
    if not isinstance(value, dict):
        return None
    version, sent_at = value.get('v'), value.get('t')
    budget, worker, cell_id = value.get('b'), value.get('w'), value.get('i')
    if not _is_int(version, 1, MAX_VERSION) or not _is_time(sent_at):
        return None
    return Extension(
        version,
        float(sent_at),
        budget if _is_int(budget, 0, MAX_BUDGET_MS) else None,
        worker if isinstance(worker, str) and len(worker) <= MAX_SERVER_LENGTH else None,
        cell_id if _is_id(cell_id) else None,
    )


def _is_int(value: Any, least: int, most: int) -> TypeGuard[int]:
    return type(value) is int and least <= value <= most


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_ID_LENGTH and value.isprintable()


def _is_time(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and 0 <= value <= LATEST


# -- what must survive a plain cell: behind the uuid --


def marked_uuid(uuid: str, extension: Extension) -> str:
    """Return the uuid with what the way back must know, as far as there is room."""
    marked = uuid
    for key, value in (
        ('w', extension.reply_server),
        ('b', extension.budget_ms),
        ('t', '%.3f' % extension.sent_at),
    ):
        if value is None:
            continue
        longer = '%s;%s=%s' % (marked, key, value)
        if len(longer) <= MAX_UUID_LENGTH and ';' not in str(value):
            marked = longer
    return marked


def counted_uuid(uuid: str, count: tuple[int, int]) -> str:
    """Return the uuid with the count of the state of an instance that the message tells."""
    return '%s;p=%d.%d' % (uuid, *count)


def count_of(uuid: str) -> tuple[int, int] | None:
    """Return the count that stands behind a uuid, None when there is none."""
    epoch, _, seq = marks(uuid).get('p', '').partition('.')
    if epoch.isdecimal() and seq.isdecimal() and len(epoch) < 19 and len(seq) < 19:
        return int(epoch), int(seq)
    return None


def bare_uuid(uuid: str) -> str:
    """Return a uuid without what stands behind it, for people."""
    return uuid.partition(';')[0]


def marks(uuid: str) -> dict[str, str]:
    """Return what stands behind a uuid, by key; empty for a plain one."""
    _, _, rest = uuid.partition(';')
    return dict(mark.split('=', 1) for mark in rest.split(';') if '=' in mark)


def source_extension(message: Message) -> Extension | None:
    """Return what the source wrote behind the uuid, None when it is a plain cell."""
    found = marks(message.uuid)
    try:
        sent_at = float(found['t'])
        budget = int(found['b']) if 'b' in found else None
    except (KeyError, ValueError):
        return None
    if not _is_time(sent_at) or not (budget is None or _is_int(budget, 0, MAX_BUDGET_MS)):
        return None
    return Extension(0, sent_at, budget, found.get('w'))


# -- answers --


def encode_responses(responses: Iterable[Response]) -> dict[str, Any]:
    """Return the ``method_kwargs`` of a response message. The request is not copied back (R8)."""
    return {
        'orig_message': '{}',
        'responses': [_encode_response(response) for response in responses],
    }


def _encode_response(response: Response) -> str:
    value = response.value
    if response.failure is not None:
        failure = dataclasses.asdict(response.failure)
        failure['class'] = failure.pop('name')
        failure['tb'] = []
        value = dumps(failure)
    return dumps(
        {
            'cell_name': response.cell_name,
            'value': value,
            'failure': response.failure is not None,
        }
    )


def decode_responses(message: Message) -> list[Response]:
    """Return the answers in a response message.

    :raises InvalidMessage: there are none in it.
    """
    texts = message.method_kwargs.get('responses')
    if not isinstance(texts, list):
        raise exceptions.InvalidMessage(reason='responses is %.40r, not a list' % (texts,))
    return [_decode_response(text) for text in texts]


def _decode_response(text: Any) -> Response:
    record = loads(text, 'a response')
    if not isinstance(record, dict) or not isinstance(record.get('cell_name'), str):
        raise exceptions.InvalidMessage(reason='a response is %.60r' % (record,))
    if not record.get('failure'):
        return Response(record['cell_name'], record.get('value'))
    return Response(record['cell_name'], failure=_decode_failure(record.get('value')))


def _decode_failure(text: Any) -> Failure:
    record = loads(text, 'a failure')
    if not isinstance(record, dict) or not isinstance(record.get('class'), str):
        raise exceptions.InvalidMessage(reason='a failure is %.60r' % (record,))
    args, kwargs = record.get('args'), record.get('kwargs')
    return Failure(
        record['class'].removesuffix('_Remote'),
        str(record.get('module')).removesuffix('_Remote'),
        str(record.get('message')),
        tuple(args) if isinstance(args, list) else (),
        kwargs if isinstance(kwargs, dict) else {},
    )
