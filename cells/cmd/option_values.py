"""Whether the values of options can be ones: what agents check as well, which know no database."""

import re
from collections.abc import Iterator
from typing import Any, Final

from oslo_config import cfg

from cells import conf as cells_conf
from cells import exceptions

#: What oslo.config says of a value: where it is from, as it stands in the code, and why it is none.
_SAID: Final = re.compile(
    r"Value for option \S+ from LocationInfo\(.*detail='(?P<place>.*)'\) is not valid: (?P<why>.*)",
    re.DOTALL,
)
#: What Python says of a text that is no number, and what people call it.
_REASONS: Final = {
    'invalid literal for int()': 'It is not a whole number',
    'could not convert string to float': 'It is not a number',
}


def check(conf: cfg.ConfigOpts) -> None:
    """Look at every option of this project.

    oslo.config does so when a value is asked for, which may be hours after the start.

    :raises ConfigurationError: a value cannot be one.
    """
    for reason in wrong(conf):
        raise exceptions.ConfigurationError(reason=reason)


def wrong(conf: cfg.ConfigOpts) -> Iterator[str]:
    """Yield what is wrong with the values of options, one by one."""
    for group, options in cells_conf.list_opts():
        section = conf if group == 'DEFAULT' else conf[group]
        for option in options:
            try:
                getattr(section, option.dest)
            except cfg.Error as error:
                yield '[%s] %s' % (group, _reason(str(group), option, str(error)))


def _reason(group: str, option: Any, said: str) -> str:
    found = _SAID.fullmatch(said)
    if found is None:
        return said
    place, why = found['place'], found['why']
    why = next((text for start, text in _REASONS.items() if why.startswith(start)), why)
    written = '' if option.secret else _written(place, group, option.name)
    return '%s%s is not valid (%s): %s' % (option.name, written, place, why)


def _written(path: str, group: str, name: str) -> str:
    """Return the value as it stands in a file, '' where that cannot be known."""
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        cfg.ConfigParser(path, sections).parse()
    except (cfg.Error, OSError):
        return ''
    found = sections.get(group, {}).get(name)
    return ' = %.60s' % ' '.join(found[-1].split()) if found else ''
