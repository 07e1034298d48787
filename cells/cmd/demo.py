"""nova-cells-demo: a tree of three levels in one process, without a broker or a database server."""

import argparse

from cells.cmd import concurrency


def main(args: list[str] | None = None) -> int:
    """Run the demo; exit code 0 only if all of it came out right."""
    parser = argparse.ArgumentParser(
        prog='nova-cells-demo',
        description='Run a tree of seven cells and twelve hosts in this process, for about a '
        'minute, and show what it does. It needs nothing and leaves nothing behind.',
    )
    parser.parse_args(args)
    # On eventlet a statement of SQLite stops the whole process, with its seven cells.
    concurrency.choose('threading')
    from cells.cmd import demo_show  # noqa: PLC0415 - all else must come after the patching

    return demo_show.run()


if __name__ == '__main__':
    raise SystemExit(main())
