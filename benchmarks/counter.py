"""A stock RPC server of oslo.messaging that counts what it gets, as any consumer must at least.

    counter <url> <queue type> <exchange> <topic>

It stands for whoever takes bare casts, and for a plain parent: that one takes what a nova-cells
sends, and reads the envelope.
"""

import json
import sys
import threading

import oslo_messaging

from benchmarks import skeleton

COUNT_TOPIC = 'count'


class Counter:
    """Counts messages."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def process_message(self, ctxt, message):
        """Take one message."""
        json.loads(message)
        with self._lock:
            self._count += 1

    def counted(self, ctxt):
        """Return how many came."""
        return self._count


def transport(url: str, queue_type: str, exchange: str):
    """Return a stock transport."""
    return oslo_messaging.get_rpc_transport(skeleton.conf(url, queue_type, exchange))


def main(url: str, queue_type: str, exchange: str, topic: str) -> None:
    """Serve until killed."""
    counter = Counter()
    for name in (topic, COUNT_TOPIC):
        skeleton.serve(transport(url, queue_type, exchange), name, 'counter', counter)
    print('ready', flush=True)
    threading.Event().wait()


if __name__ == '__main__':
    main(*sys.argv[1:])
