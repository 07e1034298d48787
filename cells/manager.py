"""The RPC endpoint of a cell, nova's contract.

Methods look at their arguments, ask the runner and give the answer the shape
of ``spec/rpc_server.json``. A call waits for other cells in the thread that
serves it; a cast returns when the journal has it.
"""

import oslo_messaging

from cells import versions
from cells.endpoints import (
    builds,
    hosts,
    instance_actions,
    instance_reports,
    instances,
    topology,
)


class CellsManager(
    topology.TopologyMethods,
    hosts.HostMethods,
    instances.InstanceMethods,
    instance_actions.InstanceActionMethods,
    instance_reports.InstanceReportMethods,
    builds.BuildMethods,
):
    """What API services may ask of their cell."""

    target = oslo_messaging.Target(version=versions.SERVED_VERSION)
