"""A channel that dies under a living connection must not end a link for good."""

import contextlib

from cells import exceptions
from cells.drivers import base
from cells.drivers import rpc as driver
from cells.operations import Kind
from tests import fake_cells


class Settings:
    def __init__(self, conf):
        self.conf = conf
        self.version_cap = None


def test_a_link_with_a_dead_channel_works_again_after_one_failure(rabbit, workdir):
    rabbit.add_vhost('dead_channel')
    url = rabbit.url('dead_channel')
    conf = fake_cells.conf_of(workdir, 'api')
    link = driver._Link('leaf', url, Settings(conf), lambda kind: 'dead.%s' % kind.value)
    one = base.Outgoing(kind=Kind.TARGETED, text='{}', ctxt={}, fanout=True)
    link.deliver(one)
    # As a broker leaves it that closes a channel, and not its connection.
    pool = link._transport._driver._connection_pool
    for connection in list(pool._items):
        found = connection[-1] if isinstance(connection, tuple) else connection
        channels = (found.connection.default_channel, found.channel)
        for channel in channels:
            channel.collect()
    with contextlib.suppress(exceptions.NotSent):
        link.deliver(one)
    link.deliver(one)
    link.release()
