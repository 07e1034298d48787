"""A nova-cells that is not ours, as far as its neighbours see it: it hears and speaks."""

import json
import threading
from typing import Any

from cells import messages, operations
from cells.drivers import base, fake, settings
from cells.state import CellState
from tests import fake_cells


class PlainCell:
    """Listens on the bus of the process, keeps what comes, and sends what it is told to."""

    def __init__(self, workdir, name: str) -> None:
        self.name = name
        self.heard: list[dict[str, Any]] = []
        self._workdir = workdir
        self._lock = threading.Lock()
        self._driver = fake.FakeDriver(
            settings.DriverSettings(
                conf=None,
                transport_url=fake_cells.address(workdir, name),
                queue_base='cells.intercell',
                server=name,
                prefetch=64,
                queue_type='classic',
                send_queue_length=1000,
            )
        )

    def start(self) -> None:
        self._driver.start(self._receive)

    def stop(self) -> None:
        self._driver.close()

    def _receive(self, incoming: base.Incoming) -> None:
        with self._lock:
            self.heard.append(json.loads(incoming.text))
        incoming.settle()

    def of(self, *names: str) -> list[dict[str, Any]]:
        """Return what came of these operations."""
        with self._lock:
            return [one for one in self.heard if one['method_name'] in names]

    def say(self, to: str, operation: str, direction: str, **kwargs: Any) -> None:
        """Send a message to a neighbour; a broadcast when it goes up."""
        envelope = {
            'message_type': 'broadcast' if direction == 'up' else 'targeted',
            'ctxt': {'request_id': 'req-plain'},
            'method_name': operation,
            'method_kwargs': kwargs,
            'direction': direction,
            'need_response': False,
            'fanout': False,
            'uuid': messages.new_uuid(),
            'routing_path': self.name,
            'hop_count': 1,
            'max_hop_count': 10,
        }
        kind = operations.Kind.BROADCAST
        if direction == 'down':
            envelope['target_cell'] = '%s!%s' % (self.name, to)
            kind = operations.Kind.TARGETED
        address = fake_cells.address(self._workdir, to)
        neighbour = CellState(to, direction == 'up', address)
        self._driver.send(neighbour, base.Outgoing(kind=kind, text=json.dumps(envelope), ctxt={}))
