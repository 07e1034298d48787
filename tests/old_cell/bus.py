"""The bus of an old cell: three topics on its own broker, casts onto those of its neighbours."""

import threading
from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_config import cfg

BASE = 'cells.intercell'
KINDS = ('targeted', 'broadcast', 'response')


class Endpoint:
    """What the RPC server of a topic offers."""

    target = oslo_messaging.Target(version='1.0')

    def __init__(self, receive: Callable[[str], None]) -> None:
        self._receive = receive

    def process_message(self, ctxt: Any, message: str) -> None:
        """Take an envelope."""
        self._receive(message)


class Bus:
    """Listens for the processes of a cell, and sends.

    :param url: of the cell's own broker.
    :param receive: called for each process: (process, text).
    :param processes: how many there are.
    """

    def __init__(self, url: str, receive: Callable[[int, str], None], processes: int = 1) -> None:
        self._transport = transport(url)
        self._transports: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._servers = [
            oslo_messaging.get_rpc_server(
                self._transport,
                oslo_messaging.Target(topic='%s.%s' % (BASE, kind), server='old-%d' % number),
                [Endpoint(lambda text, number=number: receive(number, text))],
                executor='threading',
                access_policy=oslo_messaging.DefaultRPCAccessPolicy,
            )
            for number in range(processes)
            for kind in KINDS
        ]

    def start(self) -> None:
        """Listen."""
        for server in self._servers:
            server.start()

    def send(self, url: str, kind: str, text: str, fanout: bool) -> None:
        """Cast an envelope onto a broker."""
        with self._lock:
            if url not in self._transports:
                self._transports[url] = transport(url)
            found = self._transports[url]
        target = oslo_messaging.Target(topic='%s.%s' % (BASE, kind), version='1.0')
        client = oslo_messaging.get_rpc_client(found, target)
        if fanout:
            client = client.prepare(fanout=True)
        client.cast({}, 'process_message', message=text)

    def call(
        self, url: str, version: str, method: str, args: dict[str, Any], wait: bool, ctxt: Any
    ) -> Any:
        """Do as a client of a cell does, on the cell's broker."""
        with self._lock:
            if url not in self._transports:
                self._transports[url] = transport(url)
            found = self._transports[url]
        target = oslo_messaging.Target(topic='cells', version=version)
        client = oslo_messaging.get_rpc_client(found, target, timeout=30)
        return (client.call if wait else client.cast)(ctxt, method, **args)


def transport(url: str) -> Any:
    """Return a transport as nova has them: exchange ``nova``, nothing durable."""
    oslo_messaging.set_transport_defaults('nova')
    return oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
