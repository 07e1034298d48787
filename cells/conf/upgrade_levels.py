"""Options of the group ``upgrade_levels``: how far clients, and cells to each other, may go."""

from collections.abc import Callable, Iterable

from oslo_config import cfg, types

from cells import versions


class Cap(types.String):
    """A text that stands for a version."""

    def __init__(self, check: Callable[[str], object]) -> None:
        super().__init__()
        self._check = check

    def __call__(self, value: object) -> str:
        """Return the text.

        :raises ValueError: it stands for none; the error says what could.
        """
        text = str(super().__call__(value))
        self._check(text)
        return text


def _cap(name: str, check: Callable[[str], object], text: str) -> cfg.Opt:
    option = cfg.StrOpt(name, help=text)
    option.type = Cap(check)
    return option


OPTS = [
    _cap(
        'cells',
        versions.rpc_cap,
        'Highest version of the cells RPC that clients send: a release name from grizzly '
        'on, or a version from 1.0 to 1.37. Objects go out at the versions of that release, or '
        'of the first that knows the version. Unset: no limit.',
    ),
    _cap(
        'intercell',
        versions.intercell_cap,
        'Highest version of the RPC between cells that this cell sends: a release name from '
        'grizzly on, or 1.0, which is the only version that there ever was. Unset: no limit.',
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options."""
    conf.register_opts(OPTS, group='upgrade_levels')


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """Return the options by group."""
    return [('upgrade_levels', OPTS)]
