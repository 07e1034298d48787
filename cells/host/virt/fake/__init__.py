"""A host that pretends: its machines are rows in a file, which is all that they are missing.

They have power states, disks with a content, volumes, interfaces with addresses,
consoles and counters, and they are still there when the agent has been killed. Each
operation ends in one transaction, with a note that it has been done, so that nothing is
done twice. How long things take and what fails is set in the configuration.

``machine`` is what a machine is, ``power``, ``networks`` and ``volumes`` change one, as
values in and values out; ``store`` keeps machines on this host, ``shared`` what all hosts
of a cell see; ``host`` brings these together, and ``running``, ``living``, ``imaging``,
``wiring`` and ``moving`` are the operations.
"""
