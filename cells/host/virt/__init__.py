"""Drivers: what runs virtual machines on a host. ``base`` is the contract."""
