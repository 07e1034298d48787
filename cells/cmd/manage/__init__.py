"""nova-cells-manage: what operators do with a cell and see of the tree.

``app`` is the program, ``base`` what its commands share; each other module has the
commands on one subject, found by the entry points ``cells.manage``.
"""
