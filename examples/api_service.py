"""A small API service on top of the cells: it creates, lists, stops, starts and deletes servers.

It is what an engineer writes against the client; nothing of it knows of cells::

    $ python examples/api_service.py --config-file api.conf
    $ curl -d '{"name": "web", "memory_mb": 512}' localhost:8774/servers
    $ curl localhost:8774/servers
    $ curl -X POST localhost:8774/servers/<id>/stop
    $ curl -X DELETE localhost:8774/servers/<id>

``X-Project-Id`` and ``X-User-Id`` say who asks; a real service puts keystonemiddleware in front.
"""

import json
import sys
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref import simple_server

import oslo_messaging
from oslo_config import cfg

from cells import context, exceptions, rpcapi
from cells.objects.flavor import Flavor
from cells.objects.instance import Instance

SHOWN = ('uuid', 'display_name', 'vm_state', 'task_state', 'cell_name', 'created_at')


class Servers:
    """The WSGI application.

    :param cells: orders what is to be done.
    :param records: what is known of the servers, in the database of the API cell.
    """

    def __init__(self, cells: rpcapi.CellsAPI, records: rpcapi.InstancesAPI) -> None:
        self._cells = cells
        self._records = records

    # -- what it does --

    def create(self, ctxt: Any, wanted: dict[str, Any]) -> dict[str, Any]:
        """Make a server; it is there at once, and built in the cell that has room for it."""
        flavor = Flavor(
            name='custom',
            flavorid='custom',
            memory_mb=int(wanted.get('memory_mb', 512)),
            vcpus=int(wanted.get('vcpus', 1)),
            root_gb=int(wanted.get('root_gb', 1)),
        )
        server = Instance(
            uuid=str(uuid.uuid4()),
            display_name=str(wanted['name']),
            project_id=ctxt.project_id,
            user_id=ctxt.user_id,
            memory_mb=flavor.memory_mb,
            vcpus=flavor.vcpus,
            root_gb=flavor.root_gb,
            ephemeral_gb=0,
            flavor=flavor,
            image_ref=str(wanted.get('image', 'image-1')),
        )
        self._records.create(ctxt, [server])
        self._cells.build_instances(
            ctxt, instances=[server], filter_properties={'instance_type': flavor}, image={}
        )
        return self.show(ctxt, server.uuid)

    def list(self, ctxt: Any) -> dict[str, Any]:
        """Return the servers of a project."""
        found = self._records.list(ctxt, {'project_id': ctxt.project_id})
        return {'servers': [_shown(one) for one in found]}

    def show(self, ctxt: Any, server: str) -> dict[str, Any]:
        """Return a server."""
        return {'server': _shown(self._records.get(ctxt, server))}

    def stop(self, ctxt: Any, server: str) -> None:
        """Stop a server."""
        self._cells.stop_instance(ctxt, self._records.get(ctxt, server))

    def start(self, ctxt: Any, server: str) -> None:
        """Start a server."""
        self._cells.start_instance(ctxt, self._records.get(ctxt, server))

    def delete(self, ctxt: Any, server: str) -> None:
        """Delete a server, also one that no cell has taken yet."""
        found = self._records.get(ctxt, server)
        if found.cell_name:
            self._cells.terminate_instance(ctxt, found, None)
        else:
            self._cells.instance_delete_everywhere(ctxt, found, 'hard')

    # -- how it is asked --

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable:
        """Answer a request."""
        ctxt = context.RequestContext(
            environ.get('HTTP_X_USER_ID', 'demo'), environ.get('HTTP_X_PROJECT_ID', 'demo')
        )
        try:
            status, answer = self._answer(ctxt, environ)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            status, answer = 400, {'message': 'The request cannot be used: %r' % error}
        except exceptions.WireError as error:
            status, answer = error.code, {'message': str(error)}
        except oslo_messaging.MessagingException as error:
            status, answer = 503, {'message': 'The cells cannot be reached: %s' % error}
        start_response('%d -' % status, [('Content-Type', 'application/json')])
        return [json.dumps(answer, default=str).encode()]

    def _answer(self, ctxt: Any, environ: dict[str, Any]) -> tuple[int, Any]:
        method, words = environ['REQUEST_METHOD'], environ['PATH_INFO'].strip('/').split('/')
        match method, words:
            case 'POST', ['servers']:
                size = int(environ.get('CONTENT_LENGTH') or 0)
                return 202, self.create(ctxt, json.loads(environ['wsgi.input'].read(size)))
            case 'GET', ['servers']:
                return 200, self.list(ctxt)
            case 'GET', ['servers', server]:
                return 200, self.show(ctxt, server)
            case 'POST', ['servers', server, ('start' | 'stop') as action]:
                return 202, getattr(self, action)(ctxt, server)
            case 'DELETE', ['servers', server]:
                return 202, self.delete(ctxt, server)
        return 404, {'message': 'There is no %s %s' % (method, environ['PATH_INFO'])}


def _shown(server: Any) -> dict[str, Any]:
    return {name: getattr(server, name, None) for name in SHOWN}


def main(args: list[str]) -> None:
    """Serve until the process is ended."""
    conf = cfg.ConfigOpts()
    conf.register_cli_opts([cfg.PortOpt('port', default=8774, help='Port to serve on.')])
    conf(args, project='cells')
    application = Servers(rpcapi.CellsAPI.from_conf(conf), rpcapi.InstancesAPI.from_conf(conf))
    with simple_server.make_server('127.0.0.1', conf.port, application) as server:
        server.serve_forever()


if __name__ == '__main__':
    main(sys.argv[1:])
