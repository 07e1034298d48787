"""pytest under eventlet: ``python -m tests.under_eventlet tests/unit``."""

import sys
import warnings

warnings.filterwarnings('ignore', message=r'\s*Eventlet is deprecated')

import eventlet  # noqa: E402

eventlet.monkey_patch()

import pytest  # noqa: E402 - must come after the patching

if __name__ == '__main__':
    raise SystemExit(pytest.main(sys.argv[1:]))
