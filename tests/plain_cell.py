"""A nova-cells that is not ours, as far as its neighbours see it: it hears and speaks."""

import json
import threading
from typing import Any

from cells import messages, operations, wire
from cells.drivers import base, fake, settings
from cells.state import CellState
from tests import fake_cells


class PlainCell:
    """Listens on the bus of the process, keeps what comes, and sends what it is told to.

    :param answers: whether it answers questions at once, with nothing.
    """

    def __init__(self, workdir, name: str, answers: bool = False) -> None:
        self.name = name
        self._answers = answers
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
        envelope = json.loads(incoming.text)
        with self._lock:
            self.heard.append(envelope)
        incoming.settle()
        if self._answers and envelope['need_response']:
            self._answer(envelope)

    def _answer(self, envelope: dict[str, Any]) -> None:
        """Answer with nothing, also in the name of a cell further on."""
        path = [*envelope['routing_path'].split('!'), self.name]
        if 'target_cell' in envelope:
            path = envelope['target_cell'].split('!')
        value = {'cell_name': '!'.join(path), 'value': None, 'failure': False}
        back = path[::-1] if 'target_cell' in envelope else path[:-3:-1]
        come = back[: back.index(self.name) + 1]
        answer = {
            **envelope,
            'message_type': 'response',
            'method_name': 'parse_responses',
            'method_kwargs': {'orig_message': '{}', 'responses': [json.dumps(value)]},
            'direction': 'down' if envelope['direction'] == 'up' else 'up',
            'need_response': False,
            'fanout': True,
            'uuid': messages.new_uuid(),
            'routing_path': '!'.join(come),
            'hop_count': len(come),
            'target_cell': '!'.join(back),
            'response_uuid': envelope['uuid'],
        }
        answer.pop(wire.EXTENSION_KEY, None)
        self.put(back[len(come)], operations.Kind.RESPONSE, answer, fanout=True)

    def of(self, *names: str) -> list[dict[str, Any]]:
        """Return what came of these operations."""
        with self._lock:
            return [one for one in self.heard if one['method_name'] in names]

    def say(self, to: str, operation: str, direction: str, **kwargs: Any) -> None:
        """Send a message to a neighbour; a broadcast when it goes up."""
        self.tell(to, operation, direction, broadcast=direction == 'up', **kwargs)

    def tell(
        self, to: str, operation: str, direction: str, broadcast: bool = False, **kwargs: Any
    ) -> None:
        """Send a message to a neighbour, for that one or as a broadcast."""
        envelope = {
            'message_type': 'broadcast' if broadcast else 'targeted',
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
        if not broadcast:
            envelope['target_cell'] = '%s!%s' % (self.name, to)
        self.put(to, operations.Kind(envelope['message_type']), envelope)

    def put(
        self, to: str, kind: operations.Kind, envelope: dict[str, Any], fanout: bool = False
    ) -> None:
        """Send an envelope to a neighbour as it is."""
        neighbour = CellState(to, False, fake_cells.address(self._workdir, to))
        outgoing = base.Outgoing(kind=kind, text=json.dumps(envelope), ctxt={}, fanout=fanout)
        self._driver.send(neighbour, outgoing)
