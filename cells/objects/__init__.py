"""Versioned objects as plain values, one module for each subject.

Importing this package registers them all.
"""

from cells.objects import service  # noqa: F401
