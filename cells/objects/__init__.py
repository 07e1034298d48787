"""Versioned objects as plain values, one module for each subject.

Importing this package registers them all.
"""

from cells.objects import (
    action,  # noqa: F401
    block_device,  # noqa: F401
    compute_node,  # noqa: F401
    device,  # noqa: F401
    flavor,  # noqa: F401
    instance,  # noqa: F401
    keypair,  # noqa: F401
    migration,  # noqa: F401
    network,  # noqa: F401
    numa,  # noqa: F401
    pci,  # noqa: F401
    request_spec,  # noqa: F401
    security_group,  # noqa: F401
    service,  # noqa: F401
    tag,  # noqa: F401
)
