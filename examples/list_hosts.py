"""List the hosts of all cells and what is free on them, and name the cells that do not answer.

::

    $ python examples/list_hosts.py --config-file api.conf
"""

import sys

from oslo_config import cfg

from cells import context, rpcapi


def main(args: list[str]) -> int:
    """Print a line for each host; return 1 when a cell is missing."""
    conf = cfg.ConfigOpts()
    conf(args, project='cells')
    api = rpcapi.CellsAPI.from_conf(conf)
    ops = rpcapi.OpsAPI.from_conf(conf)
    ctxt = context.RequestContext('admin', 'admin', is_admin=True, roles=['admin'])
    for service in api.service_get_all(ctxt, {'binary': 'nova-compute'}):
        print(service.host, 'disabled' if service.disabled else 'enabled')
    free = api.get_capacities(ctxt).get('ram_free', {})
    print('%d MiB of memory are free' % free.get('total_mb', 0))
    missing = ops.query(ctxt, 'service_get_all')['missing']
    for cell in missing:
        print('%s is missing: %s' % (cell['cell'], cell['reason']))
    return 1 if missing else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
