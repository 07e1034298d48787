"""A client of cells as a program of its own: oslo.messaging and nothing else.

It stands for an API service of nova, and is written from the description of the contract:
topic ``cells``, exchange ``nova``, a context as a dictionary, arguments in their form on the
wire. Each line on its input is an order in JSON: ``version``, ``method``, ``args``, ``ctxt``,
``cast``; each line that it prints is what came of one.
"""

import json
import sys

import oslo_messaging
from oslo_config import cfg


def main(transport_url: str) -> None:
    """Carry orders out until the input ends."""
    oslo_messaging.set_transport_defaults('nova')
    conf = cfg.CONF
    conf([], project='plain-client', default_config_files=[])
    # Errors are not rebuilt: a client of nova has its classes, this one has not.
    transport = oslo_messaging.get_rpc_transport(conf, transport_url, allowed_remote_exmods=[])
    client = oslo_messaging.get_rpc_client(
        transport, oslo_messaging.Target(topic='cells', version='1.0'), timeout=60
    )
    for line in sys.stdin:
        order = json.loads(line)
        prepared = client.prepare(version=order['version'])
        send = prepared.cast if order['cast'] else prepared.call
        found = {}
        try:
            found['value'] = send(order['ctxt'], order['method'], **order['args'])
        except oslo_messaging.RemoteError as error:
            found = {'error': error.exc_type, 'text': error.value}
        print(json.dumps(found), flush=True)
    foreign = sorted(name for name in sys.modules if name.partition('.')[0] == 'cells')
    print(json.dumps({'value': foreign}), flush=True)


if __name__ == '__main__':
    main(sys.argv[1])
