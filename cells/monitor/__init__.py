"""How a daemon does, told by HTTP: one process beside its workers, which asks none of them.

It reads what the workers publish (:mod:`cells.published`) and asks the database of the cell
itself. So it answers whatever a worker does or no longer does, on one port for all of them.
"""
