"""Private servers for tests and benchmarks: RabbitMQ, PostgreSQL and MariaDB.

Each object is one server of its own: data, log, credentials and ports belong to it alone, it
listens on 127.0.0.1 only, and any number of them run side by side on one machine, next to servers
that the machine runs anyway. Only the standard library and the servers' own programs are used.

Three rules make them fit for tests that break things:

* What a server confirmed is there again after ``kill()`` and ``start()``, as it would be in
  production. Databases wait for the disk as well, unless they are asked not to: then a commit
  outlasts the server, but not the machine.
* ``kill()`` is a crash: SIGKILL for the server first, then for whatever it leaves behind.
* No server outlives the process that started it, however that process ends: it runs under a
  guardian (:mod:`tests.servers.guardian`).

As root the servers run under the account of their package, because PostgreSQL refuses root.
"""

from tests.servers.base import Database, Server, free_port
from tests.servers.databases import MariaDB, PostgreSQL
from tests.servers.programs import ServerError, missing_packages
from tests.servers.rabbitmq import RabbitMQ

__all__ = [
    'Database',
    'MariaDB',
    'PostgreSQL',
    'RabbitMQ',
    'Server',
    'ServerError',
    'free_port',
    'missing_packages',
]
