"""nova-cells-demo: a tree of three levels in one process, without a broker or a database server."""

from cells.cmd import concurrency


def main() -> int:
    """Run the demo; exit code 0 only if all of it came out right."""
    concurrency.choose()
    from cells.cmd import demo_show  # noqa: PLC0415 - all else must come after the patching

    return demo_show.run()


if __name__ == '__main__':
    raise SystemExit(main())
