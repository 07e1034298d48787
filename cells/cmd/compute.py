"""nova-cells-compute: the agent on a host."""

from cells.cmd import concurrency


def main() -> int:
    """Report and serve until told to stop; return the exit code (0 stopped, 1 cannot, 2 usage)."""
    concurrency.choose()
    from cells.cmd import compute_daemon  # noqa: PLC0415 - all else must come after the patching

    return compute_daemon.run()


if __name__ == '__main__':
    raise SystemExit(main())
