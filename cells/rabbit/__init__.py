"""Late acknowledgement, and the other things oslo.messaging keeps to itself.

oslo.messaging acknowledges an RPC when it arrives: what a process held when
it was killed is gone. Here a message is *settled* by whoever has made it
safe, and until then the broker keeps it. How many may be unsettled is the
prefetch count, which thereby bounds the intake of a worker.

Three more things need the driver's inside: intake queues that are quorum
queues on the transient exchange that every nova declares, transient queues
that a new RabbitMQ accepts, and a first connection whose waiting ends.

This package is the only one that touches ``oslo_messaging._drivers``. It was
written against oslo.messaging 18.3.1; ``tests/functional/test_delivery.py``
pins what it relies on, with kill -9.
"""

import kombu

from cells.rabbit.client import (
    OPTIONS_NOT_LISTED,
    OneCast,
    is_rabbit,
    quote_credentials,
    warm_up,
)
from cells.rabbit.probe import DEFAULT_PORT, Broker, brokers
from cells.rabbit.queues import listen
from cells.rabbit.server import LateAckServer

__all__ = [
    'DEFAULT_PORT',
    'OPTIONS_NOT_LISTED',
    'Broker',
    'LateAckServer',
    'OneCast',
    'brokers',
    'is_rabbit',
    'kombu',
    'listen',
    'quote_credentials',
    'warm_up',
]
