"""What the clients of :mod:`cells.rpcapi` are made of, one module for each subject."""
