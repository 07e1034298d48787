"""Start a module of this package under the kind of concurrency that the environment names."""

import importlib
import sys

from cells.cmd import concurrency

if __name__ == '__main__':
    concurrency.choose()
    importlib.import_module('benchmarks.' + sys.argv[1]).main(*sys.argv[2:])
