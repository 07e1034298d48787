"""nova-cells: the daemon of a cell."""

from cells.cmd import concurrency


def main() -> int:
    """Serve until told to stop; return the exit code (0 stopped, 1 cannot run, 2 bad usage)."""
    chosen = concurrency.choose()
    from cells.cmd import daemon  # noqa: PLC0415 - all else must come after the patching

    return daemon.run(chosen)


if __name__ == '__main__':
    raise SystemExit(main())
