"""One compute API over a tree of compute deployments: see ``README.rst``."""
