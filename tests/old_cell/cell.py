"""How an old cell routes, answers and waits (``spec/intercell.json``, ``routing``)."""

import copy
import datetime
import json
import queue
import threading
import uuid as uuids
from collections.abc import Callable
from typing import Any

from . import bus, values

REQUIRED = ('message_type', 'ctxt', 'method_name', 'method_kwargs', 'direction')
OPTIONAL = {'need_response': False, 'fanout': False, 'max_hop_count': None}
MOST_HOPS = 10
OPPOSITE = {'up': 'down', 'down': 'up'}


class Failed(Exception):
    """Raised for an error with a name.

    :ivar kwargs: what it was made with.
    """

    def __init__(self, name: str, text: str, **kwargs: Any) -> None:
        super().__init__(text)
        self.name = name
        self.kwargs = kwargs


def routing_error(reason: str) -> Failed:
    text = 'Inconsistency in cell routing: %s' % reason
    return Failed('CellRoutingInconsistency', text, reason=reason, code=500)


class Cell:
    """One old cell.

    :param settings: name, url, release, parents and children (name -> url), processes,
        call_timeout.
    :param local: carries out a method: (cell, message, kwargs).
    :param make_bus: makes its bus: (url, receive, processes).
    """

    def __init__(
        self,
        settings: dict[str, Any],
        local: Callable[..., Any],
        make_bus: Callable[..., Any] = bus.Bus,
    ) -> None:
        self.name = settings['name']
        self.parents: dict[str, str] = settings.get('parents', {})
        self.children: dict[str, str] = settings.get('children', {})
        self.objects = values.Objects(settings.get('release', 'rocky'))
        self.url = settings['url']
        self._timeout = settings.get('call_timeout', 10)
        self._local = local
        self._lock = threading.Lock()
        self._queues: dict[str, tuple[int, queue.Queue[Any]]] = {}
        #: What happened, for tests: texts of messages that were lost, and what came.
        self.lost: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self._bus = make_bus(self.url, self.receive, settings.get('processes', 1))

    def start(self) -> None:
        """Listen."""
        self._bus.start()

    @property
    def is_top(self) -> bool:
        return not self.parents

    def side(self, direction: str) -> dict[str, str]:
        """Return the neighbours on a side."""
        return self.parents if direction == 'up' else self.children

    def client(self, url: str, version: str, method: str, args: Any, wait: bool, ctxt: Any) -> Any:
        """Do as a client does."""
        return self._bus.call(url, version, method, args, wait, ctxt)

    # -- making messages --

    def message(self, kind: str, method: str, kwargs: Any, direction: str, **more: Any) -> Any:
        """Return a message of this cell's own."""
        return {
            'message_type': kind,
            'ctxt': more.pop('ctxt', None) or own_context(),
            'method_name': method,
            'method_kwargs': kwargs,
            'direction': direction,
            'need_response': False,
            'fanout': False,
            'uuid': str(uuids.uuid4()),
            'routing_path': self.name,
            'hop_count': 1,
            'max_hop_count': MOST_HOPS,
            **more,
        }

    def cast(self, target: str, method: str, kwargs: Any, direction: str = 'down') -> None:
        """Send something for one cell."""
        message = self.message('targeted', method, kwargs, direction, target_cell=target)
        message['fanout'] = method.startswith('update_cap')
        self._forward(message, self._next_hop(message))

    def call(self, target: str, method: str, kwargs: Any) -> Any:
        """Ask one cell; raises what it answers."""
        message = self.message(
            'targeted', method, kwargs, 'down', target_cell=target, need_response=True
        )
        replies = self._expect(message)
        self._forward(message, self._next_hop(message))
        [response] = self._wait(message, replies)
        return value_or_raise(json.loads(response))

    def broadcast(self, method: str, kwargs: Any, direction: str = 'up') -> None:
        """Tell all cells on a side."""
        message = self.message('broadcast', method, kwargs, direction)
        for hop in self.side(direction):
            self._forward(message, hop)

    def ask_all(self, method: str, kwargs: Any, direction: str = 'down') -> list[Any]:
        """Ask all cells on a side; one that failed costs all (T3), one that is silent too (T1)."""
        message = self.message('broadcast', method, kwargs, direction, need_response=True)
        found = self._collect(message, number=0)
        return [
            {'cell_name': one['cell_name'], 'value': value_or_raise(one)}
            for one in map(json.loads, found)
        ]

    # -- what arrives --

    def receive(self, number: int, text: str) -> None:
        """Take what came to one of the processes."""
        try:
            message = self._decoded(json.loads(text))
        except (values.Lost, KeyError, TypeError, ValueError) as error:
            with self._lock:
                self.lost.append('%s: %s' % (type(error).__name__, error))
            return
        with self._lock:
            self.heard.append({**copy.deepcopy(message), 'process': number})
        try:
            {
                'targeted': self._targeted,
                'broadcast': self._broadcast,
                'response': self._response,
            }[message['message_type']](message, number)
        except Exception as error:  # noqa: BLE001 - it is only logged there
            with self._lock:
                self.lost.append('%s: %r' % (message['method_name'], error))

    def _decoded(self, envelope: dict[str, Any]) -> dict[str, Any]:
        """Return the message of an envelope, with what is known of it, and with the own hop."""
        found = {key: envelope[key] for key in REQUIRED}
        extra = {'targeted': ('target_cell',), 'response': ('target_cell', 'response_uuid')}
        found.update({key: envelope[key] for key in extra.get(found['message_type'], ())})
        found.update({key: envelope.get(key, nothing) for key, nothing in OPTIONAL.items()})
        found['uuid'] = envelope.get('uuid') or str(uuids.uuid4())
        path, hops = envelope.get('routing_path') or '', envelope.get('hop_count') or 0
        found['routing_path'] = path + '!' + self.name if path else self.name
        found['hop_count'] = hops + 1
        if found['max_hop_count'] is None:
            found['max_hop_count'] = MOST_HOPS
        found['ctxt'] = values.known_context(found['ctxt'])
        found['method_kwargs'] = self.objects.decode(found['method_kwargs'])
        return found

    def _targeted(self, message: dict[str, Any], number: int) -> None:
        try:
            hop = self._next_hop(message)
            if hop is not None:
                if message['hop_count'] >= message['max_hop_count']:
                    text = 'Cell message has reached maximum hop count: %d' % message['hop_count']
                    raise Failed(
                        'CellMaxHopCountReached', text, hop_count=message['hop_count'], code=500
                    )
                self._forward(message, hop)
                return
        except Failed as error:
            answer = self._failure(message, error)
        else:
            answer = self._answer(message)
        if message['need_response']:
            back = '!'.join(message['routing_path'].split('!')[::-1])
            self._respond(message, back, [answer])

    def _broadcast(self, message: dict[str, Any], number: int) -> None:
        hops = self.side(message['direction'])
        if message['hop_count'] >= message['max_hop_count']:
            hops = {}
        if not message['need_response']:
            self._answer(message)
            for hop in hops:
                self._forward(message, hop)
            return
        # A neighbour that is silent has this raise, and nobody hears of it (T2).
        found = self._collect(message, number, hops)
        back = '!'.join(message['routing_path'].split('!')[:-3:-1])
        self._respond(message, back, [*found, self._answer(message)])

    def _response(self, message: dict[str, Any], number: int) -> None:
        if message['method_name'] != 'parse_responses':
            raise AttributeError(message['method_name'])
        hop = self._next_hop(message)
        if hop is not None:
            self._send_response(message, hop)
            return
        with self._lock:
            process, replies = self._queues.get(message['response_uuid'], (None, None))
        if replies is not None and process == number:
            replies.put(message['method_kwargs']['responses'])

    # -- what goes out --

    def _next_hop(self, message: dict[str, Any]) -> str | None:
        target, path = message['target_cell'], message['routing_path']
        if target == path:
            return None
        wanted, come = target.split('!'), path.split('!')
        if len(wanted) < len(come) or wanted[: len(come)] != come:
            raise routing_error('destination is %s but routing_path is %s' % (target, path))
        name = wanted[len(come)]
        if name not in self.side(message['direction']):
            side = 'parent' if message['direction'] == 'up' else 'child'
            raise routing_error('Unknown %s when routing to %s' % (side, target))
        return name

    def _forward(self, message: dict[str, Any], hop: str | None) -> None:
        assert hop is not None
        url = self.side(message['direction'])[hop]
        text = json.dumps(message)
        self._bus.send(url, message['message_type'], text, message['fanout'])

    def _respond(self, message: dict[str, Any], target: str, responses: list[str]) -> None:
        answer = self.message(
            'response',
            'parse_responses',
            {'orig_message': json.dumps(message), 'responses': responses},
            OPPOSITE[message['direction']],
            ctxt=message['ctxt'],
            target_cell=target,
            response_uuid=message['uuid'],
        )
        self._send_response(answer, self._next_hop(answer))

    def _send_response(self, message: dict[str, Any], hop: str | None) -> None:
        left = message['target_cell'].count('!') - message['routing_path'].count('!')
        if left == 1:  # whoever waits there is to get it
            message = {**message, 'fanout': True}
        self._forward(message, hop)

    # -- waiting --

    def _expect(self, message: dict[str, Any], number: int = 0) -> 'queue.Queue[Any]':
        replies: queue.Queue[Any] = queue.Queue()
        with self._lock:
            self._queues[message['uuid']] = (number, replies)
        return replies

    def _wait(self, message: dict[str, Any], replies: 'queue.Queue[Any]', most: int = 1) -> Any:
        found: list[str] = []
        try:
            for _ in range(most):
                found += replies.get(timeout=self._timeout)
        except queue.Empty:
            raise Failed('CellTimeout', 'Timeout waiting for response from cell') from None
        finally:
            with self._lock:
                del self._queues[message['uuid']]
        return found

    def _collect(
        self, message: dict[str, Any], number: int, hops: dict[str, str] | None = None
    ) -> list[str]:
        """Ask neighbours and wait for as many messages as were sent (T7)."""
        hops = self.side(message['direction']) if hops is None else hops
        replies = self._expect(message, number)
        for hop in hops:
            self._forward(message, hop)
        found: list[str] = self._wait(message, replies, len(hops))
        return found

    # -- here --

    def _answer(self, message: dict[str, Any]) -> str:
        """Carry something out; return the record of the answer."""
        try:
            value = self._local(self, message, copy.deepcopy(message['method_kwargs']))
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            return self._failure(message, error)
        return json.dumps({'cell_name': message['routing_path'], 'value': value, 'failure': False})

    def _failure(self, message: dict[str, Any], error: Exception) -> str:
        named = isinstance(error, Failed)
        with self._lock:
            self.lost.append('%s failed: %s' % (message['method_name'], error))
        record = {
            'class': error.name if isinstance(error, Failed) else type(error).__name__,
            'module': 'nova.exception' if named else 'builtins',
            'message': str(error),
            'tb': ['Traceback (most recent call last):\n', '  File "old", line 1\n'],
            'args': [str(error)],
            'kwargs': error.kwargs if isinstance(error, Failed) else {},
        }
        value = {
            'cell_name': message['routing_path'],
            'value': json.dumps(record),
            'failure': True,
        }
        return json.dumps(value)


def value_or_raise(response: dict[str, Any]) -> Any:
    """Return what a cell answered.

    :raises Failed: it failed.
    """
    if not response['failure']:
        return response['value']
    record = json.loads(response['value'])
    if record['module'] not in ('nova.exception', 'exceptions', 'builtins'):
        raise Failed('RemoteError', '%(class)s %(message)s' % record)
    if record.keys() != {'class', 'module', 'message', 'tb', 'args', 'kwargs'}:
        raise Failed('RemoteError', 'not a record of an error: %s' % sorted(record))
    ''.join(record['tb'])
    raise Failed(record['class'], record['message'], **record['kwargs'])


def own_context() -> dict[str, Any]:
    """Return a context as an old cell makes them."""
    return {
        **dict.fromkeys(values.CONTEXT['mitaka_with_oslo_context_2_2']['keys']),
        'user_id': 'u1',
        'project_id': 'p1',
        'is_admin': True,
        'read_deleted': 'no',
        'roles': ['admin'],
        'timestamp': datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(),
        'request_id': 'req-%s' % uuids.uuid4(),
        'service_catalog': [],
    }
