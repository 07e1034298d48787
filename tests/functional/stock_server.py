"""What our delivery is compared with: the same work behind a stock oslo.messaging RPC server.

A cast inserts one row. That takes 20 ms, as work does; eight threads do it.
"""

import sys
import threading
import time

import oslo_messaging
import sqlalchemy as sa
from oslo_config import cfg

from cells import rpc

WORK_SECONDS = 0.02


class Endpoint:
    """Does the work of a cast."""

    def __init__(self, database_url: str) -> None:
        self._engine = sa.create_engine(database_url, pool_size=8, pool_pre_ping=True)

    def sync_instances(self, ctxt, project_id, updated_since, deleted):
        time.sleep(WORK_SECONDS)
        with self._engine.begin() as connection:
            connection.execute(
                sa.text('INSERT INTO done (project_id) VALUES (:it)'), {'it': project_id}
            )


def main(transport_url: str, database_url: str) -> None:
    """Serve until killed."""
    conf = cfg.ConfigOpts()
    rpc.prepare(conf)
    conf([], project='stock')
    server = oslo_messaging.get_rpc_server(
        oslo_messaging.get_rpc_transport(conf, transport_url),
        oslo_messaging.Target(topic='cells', server='stock', version='1.37'),
        [Endpoint(database_url)],
    )
    server.start(override_pool_size=8)
    print('ready', flush=True)
    threading.Event().wait()


if __name__ == '__main__':
    main(*sys.argv[1:])
