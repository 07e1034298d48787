"""Two cells on one message bus would take each other's messages: found out before serving."""

import logging
from typing import Any, Final

import oslo_messaging

from cells import context, exceptions, rabbit, rpc, versions

LOG = logging.getLogger(__name__)

#: Seconds that another worker gets to say who it is.
ANSWER_SECONDS: Final = 2.0


def check_alone(transport: Any, topic: str, cell_id: str, name: str) -> None:
    """Ask on the own message bus whether another cell serves there.

    :raises ConfigurationError: one does.
    """
    if not rabbit.is_rabbit(transport) or not rabbit.warm_up(transport, ANSWER_SECONDS):
        return  # within one process, or nobody can answer now
    client = rpc.get_client(
        transport,
        topic,
        version=versions.OPS_SINCE['whoami'],
        namespace=versions.OPS_NAMESPACE,
        timeout=ANSWER_SECONDS,
        retry=0,
    ).prepare(transport_options=oslo_messaging.TransportOptions(at_least_once=True))
    try:
        found = client.call(context.background(), 'whoami')
    except (
        *rpc.SEND_ERRORS,
        oslo_messaging.MessageUndeliverable,
        oslo_messaging.RemoteError,
    ) as error:
        LOG.debug('Nobody serves on this message bus yet: %s', type(error).__name__)
        return
    other = found.get('id') if isinstance(found, dict) else None
    if other is not None and other != cell_id:
        raise exceptions.ConfigurationError(
            reason='cell %s (%s) serves on the message bus of this cell, %s (%s), already. Each '
            'cell needs a virtual host, or a broker, of its own: see [DEFAULT] transport_url'
            % (found.get('name'), other, name, cell_id)
        )
