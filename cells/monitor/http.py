"""The pages, over HTTP."""

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from wsgiref import simple_server

from cells import exceptions

LOG = logging.getLogger(__name__)

#: Seconds that somebody who connects may say nothing.
PATIENCE: Final = 10.0
JSON: Final = 'application/json'

#: Returns status, type and content of a page.
Page = Callable[[], tuple[int, str, bytes]]

_STATUS: Final = {
    200: '200 OK',
    404: '404 Not Found',
    405: '405 Method Not Allowed',
    500: '500 Internal Server Error',
    503: '503 Service Unavailable',
}


def as_json(status: int, values: Mapping[str, Any]) -> tuple[int, str, bytes]:
    """Return a page of values, laid out for people as well."""
    return status, JSON, (json.dumps(values, indent=2) + '\n').encode()


def application(pages: Mapping[str, Page]) -> Callable[..., Iterable[bytes]]:
    """Return the pages by path as a WSGI application; nothing can be changed through it."""

    def answer(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        page = pages.get(environ.get('PATH_INFO', ''))
        method = environ.get('REQUEST_METHOD')
        if method not in ('GET', 'HEAD'):
            found = as_json(405, {'error': 'only GET and HEAD'})
        elif page is None:
            found = as_json(404, {'error': 'no such page', 'pages': sorted(pages)})
        else:
            try:
                found = page()
            except Exception:  # noqa: BLE001 - where a result becomes a page
                LOG.exception('Page %s could not be made', environ.get('PATH_INFO'))
                found = as_json(500, {'error': 'see the log of the daemon'})
        status, kind, content = found
        start_response(
            _STATUS[status], [('Content-Type', kind), ('Content-Length', str(len(content)))]
        )
        return [b'' if method == 'HEAD' else content]

    return answer


class _Handler(simple_server.WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library
        LOG.debug('%s: %s', self.client_address[0], format % args)


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # The library's own asks the DNS for the name of the address, and may wait for it.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        LOG.debug('A connection from %s ended in an error', client_address, exc_info=True)


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class Server:
    """Serves pages in a thread of its own.

    :raises ConfigurationError: the address or the port cannot be used.
    """

    def __init__(self, address: str, port: int, pages: Mapping[str, Page]) -> None:
        try:
            kind = _family(address)
            self._server = kind((address, port), _Handler)
        except OSError as error:
            raise exceptions.ConfigurationError(reason=_refusal(address, port, error)) from None
        self._server.set_app(application(pages))
        self._thread = threading.Thread(target=self._server.serve_forever, name='http', daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def check(address: str, port: int) -> None:
    """Refuse an address or a port that cannot be used now.

    :raises ConfigurationError: the text says why.
    """
    Server(address, port, {})._server.server_close()


def _family(address: str) -> type[_Server]:
    found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    return _ServerV6 if found[0][0] == socket.AF_INET6 else _Server


def _refusal(address: str, port: int, error: OSError) -> str:
    return '[monitoring] address = %s, port = %d cannot be listened on: %s' % (
        address,
        port,
        error.strerror or error,
    )
