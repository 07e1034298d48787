"""What an agent needs of its cell: takes reports and results, and orders what a test wants.

It answers as a cell would, over a real bus, and keeps what it was told.
"""

import itertools
import threading
import time

import oslo_messaging

from cells import context, exceptions, rpc, versions
from cells.compute import hosts
from cells.endpoints import agents
from cells.stats import Stats
from tests import deploy

CTXT = context.RequestContext('u', 'p', is_admin=True)
NUMBERS = itertools.count()


class Endpoint:
    """The endpoint for agents.

    :ivar refuses: errors by the name of the method that raises them.
    """

    target = oslo_messaging.Target(namespace=versions.HOST_NAMESPACE, version=versions.HOST_VERSION)

    def __init__(self):
        self.lock = threading.Lock()
        self.reports = []
        self.results = []
        self.steps = []
        self.asked = []
        self.answer = {'cancel': [], 'destroy': []}
        self.refuses = {}

    def _take(self, method, kept, *values):
        with self.lock:
            kept.append(values)
        error = self.refuses.get(method)
        if error is not None:
            raise error

    @rpc.served
    def report(
        self, ctxt, host, binary, topic, machine_id, resources, enabled=True, maintenance=False
    ):
        self._take('report', self.reports, host, agents.nodes_of(resources))

    @rpc.served
    def done(self, ctxt, host, machine_id, op_id, result):
        self._take('done', self.results, host, op_id, result)

    @rpc.served
    def progress(self, ctxt, host, op_id, task_state, progress):
        self._take('progress', self.steps, op_id, task_state, progress)

    @rpc.served
    def reconcile(self, ctxt, host, machine_id, operations, instances):
        self._take('reconcile', self.asked, host, operations, instances)
        return self.answer


class StandInCell:
    """The cell of some agents.

    :param conf: with the transport.
    """

    def __init__(self, conf):
        self.endpoint = Endpoint()
        self._conf = conf
        self._transport = None
        self._server = None
        self._hosts = None

    def start(self):
        self._transport = rpc.get_transport(self._conf)
        transport = self._transport
        self._hosts = hosts.HostClient(lambda: transport, 'compute', timeout=5.0, waiting=16)
        self.serve()

    def serve(self):
        """Listen to agents."""
        if self._server is not None:
            return
        self._server = rpc.get_server(
            self._transport,
            'cells',
            'stand-in',
            [self.endpoint],
            prefetch=8,
            queue_type='classic',
            worker='stand-in',
            stats=Stats(),
        )
        self._server.start()

    def deaf(self):
        """Listen no more; orders can still be given."""
        if self._server is not None:
            self._server.stop()
            self._server.wait()
            self._server = None

    def stop(self):
        self.deaf()
        self._transport.cleanup()

    # -- to an agent --

    def ask(self, host, method, **kwargs):
        return self._hosts.call(CTXT, host, method, **kwargs)

    def accept(self, host, method, vm, op_id=None, deadline=None, **args):
        """Order something; return its id."""
        op_id = op_id or 'op-%d.0' % next(NUMBERS)
        answer = self.ask(
            host,
            'accept',
            op_id=op_id,
            operation=method,
            instance=vm,
            args=args,
            deadline=deadline or time.time() + 60,
        )
        assert answer == {'accepted': True}
        return op_id

    def run(self, host, method, vm, seconds=10, **kwargs):
        """Order something and return what came of it."""
        return self.result(self.accept(host, method, vm, **kwargs), seconds)

    def result(self, op_id, seconds=10):
        return deploy.wait_until(
            lambda: next((one for one in self.results(op_id)), None), seconds, 'end of ' + op_id
        )

    def results(self, op_id):
        """Return all that was told of the end of an operation."""
        with self.endpoint.lock:
            return [result for _, known, result in self.endpoint.results if known == op_id]

    def node(self, host):
        """Return what a host has told of its only node last."""
        with self.endpoint.lock:
            found = [nodes for known, nodes in self.endpoint.reports if known == host]
        return found[-1][0] if found else None

    def served(self, host, seconds=20):
        """Wait until an agent serves."""

        def answers():
            try:
                return self.ask(host, 'ping', timeout=0.5) == host
            except exceptions.ComputeServiceUnavailable:
                return False

        deploy.wait_until(answers, seconds, '%s serves' % host)
