"""The least that any service of this shape must do, on stock oslo.messaging.

Client -> server -> cast -> child -> cast -> worker -> reply: no routing, no
state, no database, one JSON text in each message (orjson). What a call costs
beyond this is ours.

Requests are on queues of the type under test, answers on classic ones, each
on an exchange of its own, because a broker keeps an exchange as it was first
declared.
"""

import sys
import threading
import uuid

import orjson
import oslo_messaging
from oslo_config import cfg

from cells import rpc

ROWS = [
    {
        'id': number,
        'task_name': 'audit',
        'state': 'DONE',
        'host': 'host%d' % number,
        'period_beginning': '2016-01-01T00:00:00.000000',
        'period_ending': '2016-02-01T00:00:00.000000',
        'message': 'ok',
        'task_items': 0,
        'errors': 0,
        'created_at': '2016-02-01T00:00:00.000000',
        'updated_at': None,
        'deleted_at': None,
        'deleted': 0,
    }
    for number in range(3)
]


def conf(url: str, queue_type: str, exchange: str) -> cfg.ConfigOpts:
    """Return a configuration for one kind of queue."""
    found = cfg.ConfigOpts()
    rpc.prepare(found)
    found([], project='benchmark')
    found.set_override('transport_url', url)
    found.set_override('control_exchange', exchange)
    found.set_override('rabbit_quorum_queue', queue_type == 'quorum', group='oslo_messaging_rabbit')
    return found


def requests(url: str, queue_type: str):
    """Return the transport for requests."""
    return oslo_messaging.get_rpc_transport(conf(url, queue_type, 'skeleton'))


def answers(url: str):
    """Return the transport for answers."""
    return oslo_messaging.get_rpc_transport(conf(url, 'classic', 'skeleton_answers'))


def serve(transport, topic: str, server: str, endpoint) -> None:
    """Start a stock RPC server."""
    oslo_messaging.get_rpc_server(
        transport, oslo_messaging.Target(topic=topic, server=server), [endpoint]
    ).start()


def client(transport, topic: str, server: str | None = None):
    """Return a stock RPC client."""
    target = oslo_messaging.Target(topic=topic, server=server)
    return oslo_messaging.get_rpc_client(transport, target, timeout=60)


class Bare:
    """Answers a call."""

    def bare(self, ctxt, message):
        return ROWS


class Top:
    """Serves the client: casts to all its children and waits for their answers."""

    def __init__(self, children) -> None:
        self._children = children
        self._waiting: dict[str, list] = {}

    def ask(self, ctxt, message):
        key = str(uuid.uuid4())
        entry = [len(self._children), threading.Event(), []]
        self._waiting[key] = entry
        text = orjson.dumps({'uuid': key, 'ctxt': ctxt, 'kwargs': message}).decode()
        for child in self._children:
            child.cast({}, 'process', message=text)
        if not entry[1].wait(60):
            raise RuntimeError('no answer')
        del self._waiting[key]
        return entry[2]

    def answer(self, ctxt, message):
        content = orjson.loads(message)
        entry = self._waiting[content['uuid']]
        entry[2].extend(content['rows'])
        entry[0] -= 1
        if not entry[0]:
            entry[1].set()


class Middle:
    """Passes requests down and answers up."""

    def __init__(self, down, up) -> None:
        self._down = down
        self._up = up

    def process(self, ctxt, message):
        text = orjson.dumps(orjson.loads(message)).decode()
        self._down.cast({}, 'process', message=text)

    def answer(self, ctxt, message):
        text = orjson.dumps(orjson.loads(message)).decode()
        self._up.cast({}, 'answer', message=text)


class Leaf:
    """Answers."""

    def __init__(self, up) -> None:
        self._up = up

    def process(self, ctxt, message):
        content = orjson.loads(message)
        text = orjson.dumps({'uuid': content['uuid'], 'rows': ROWS}).decode()
        self._up.cast({}, 'answer', message=text)


def main(role: str, queue_type: str, own: str, *others: str) -> None:
    """Run one process: ``top`` (children...), ``middle`` (parent, child) or ``leaves`` (own...)."""
    if role == 'top':
        children = [client(requests(url, queue_type), 'process') for url in others]
        top = Top(children)
        serve(answers(own), 'answer', 'worker', top)
        serve(requests(own, queue_type), 'ask', 'top', top)
        serve(requests(own, queue_type), 'bare', 'top', Bare())
    elif role == 'middle':
        parent, child = others
        middle = Middle(
            client(requests(child, queue_type), 'process'),
            client(answers(parent), 'answer', 'worker'),
        )
        serve(answers(own), 'answer', 'worker', middle)
        serve(requests(own, queue_type), 'process', 'middle', middle)
    else:
        for url in others:
            leaf = Leaf(client(answers(own), 'answer', 'worker'))
            serve(requests(url, queue_type), 'process', 'leaf', leaf)
    print('ready', flush=True)
    threading.Event().wait()


if __name__ == '__main__':
    main(*sys.argv[1:])
