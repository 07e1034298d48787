"""Options in configuration files that nobody reads, such as those with a letter too much."""

import difflib
import glob
import os
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Final, NamedTuple

from oslo_config import cfg

from cells import rabbit

#: Whose options may stand in a configuration of ours, as in etc/cells/cells-config-generator.conf.
NAMESPACES: Final = ('cells', 'oslo.messaging', 'oslo.log', 'oslo.service.service')
#: So many are named at a start: a file may be that of a whole nova.
MOST_NAMED: Final = 10


class Unknown(NamedTuple):
    """An option in a file that nobody reads.

    :ivar place: the file.
    :ivar meant: what may be meant, '' for nothing.
    """

    place: str
    group: str
    name: str
    meant: str


def files_of(conf: cfg.ConfigOpts) -> list[str]:
    """Return the files that a configuration was read from."""
    found = [os.path.expanduser(path) for path in conf.config_file or ()]
    for directory in conf.config_dir or ():
        # As oslo.config does, which takes no hidden files.
        found += sorted(glob.glob(os.path.join(os.path.expanduser(directory), '*.conf')))
    return found


def unread(files: Iterable[str]) -> list[Unknown]:
    """Return the options in configuration files that this project does not have.

    :raises oslo_config.cfg.ParseError: a file is not one.
    """
    known = _known()
    found = []
    for path in files:
        sections: dict[str, dict[str, Any]] = {}
        cfg.ConfigParser(path, sections).parse()
        for group, options in sections.items():
            here = known.get(group.lower(), set())
            for one in options:
                if one.replace('-', '_') not in here:
                    found.append(Unknown(path, group, one, _meant(known, group, one)))
    return found


def _known() -> dict[str, set[str]]:
    """Return the names of all options, those that are not to be used any more as well, by group."""
    found: dict[str, set[str]] = {}
    for entry in metadata.entry_points(group='oslo.config.opts'):
        if entry.name not in NAMESPACES:
            continue
        for group, options in entry.load()():
            title = str(getattr(group, 'name', group) or 'DEFAULT')
            for option in options:
                found.setdefault(title.lower(), set()).add(option.dest)
                for old in option.deprecated_opts:
                    place = found.setdefault((old.group or title).lower(), set())
                    place.add((old.name or option.dest).replace('-', '_'))
    for group, options in rabbit.OPTIONS_NOT_LISTED.items():
        found.setdefault(group, set()).update(option.dest for option in options)
    return found


def _meant(known: Mapping[str, set[str]], group: str, one: str) -> str:
    close = difflib.get_close_matches(one.replace('-', '_'), known.get(group.lower(), ()), 1)
    if close:
        return '[%s] %s' % (group, close[0])
    elsewhere = [title for title, names in sorted(known.items()) if one in names]
    if elsewhere and group.lower() in known:
        title = elsewhere[0]
        return '[%s] %s' % ('DEFAULT' if title == 'default' else title, one)
    return ''


def brief(found: Iterable[Unknown]) -> list[str]:
    """Return a line for each file, with some of the options that nobody reads."""
    places: dict[str, list[Unknown]] = {}
    for one in found:
        places.setdefault(one.place, []).append(one)
    lines = []
    for place, some in places.items():
        # Those with a guess first: these are mistakes, the rest may be meant for others.
        some.sort(key=lambda one: not one.meant)
        named = [
            '[%s] %s%s' % (one.group, one.name, ' (is it %s?)' % one.meant if one.meant else '')
            for one in some[:MOST_NAMED]
        ]
        if len(some) > MOST_NAMED:
            named.append('%d more' % (len(some) - MOST_NAMED))
        lines.append('%s: nobody reads %s' % (place, ', '.join(named)))
    return lines
