"""nova-cells-compute: the agent on a host. It does not know the database of its cell."""
