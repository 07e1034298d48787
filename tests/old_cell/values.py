"""What an old cell makes of a context and of objects: it keeps what its release knows.

The facts are those of ``tests/contract``; nothing here is shared with what is tested.
"""

import datetime
import json
import pathlib
from typing import Any

CONTRACT = pathlib.Path(__file__).parents[1] / 'contract'
FACTS = json.loads((CONTRACT / 'objects.json').read_text('utf-8'))['objects']
CONTEXT = json.loads((CONTRACT / 'intercell.json').read_text('utf-8'))['request_context']
CONTEXT_KEYS = frozenset(
    CONTEXT['mitaka_with_oslo_context_2_2']['keys'] + CONTEXT['added_by_newer_oslo_context']
)
NAME, VERSION = 'nova_object.name', 'nova_object.version'
DATA, CHANGES, NAMESPACE = 'nova_object.data', 'nova_object.changes', 'nova_object.namespace'


class Lost(Exception):
    """Raised for what cannot be decoded: the whole message is lost."""


def known_context(ctxt: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of a context that was rebuilt."""
    found = {key: value for key, value in ctxt.items() if key in CONTEXT_KEYS}
    if not isinstance(found.get('read_deleted', 'no') or 'no', str):
        raise Lost('read_deleted is %r' % found['read_deleted'])
    return found


class Objects:
    """The objects of a release.

    :param release: from havana on.
    """

    def __init__(self, release: str) -> None:
        self.release = release
        self._versions = {
            name: [_numbers(one) for one in fact['versions'][release].split(' and ')]
            for name, fact in FACTS.items()
            if release in fact['versions']
        }

    def decode(self, value: Any) -> Any:
        """Return a value with what is known of the objects in it.

        :raises Lost: there is an object in it that cannot be read.
        """
        if isinstance(value, list):
            return [self.decode(one) for one in value]
        if not isinstance(value, dict):
            return value
        if NAME not in value:
            return {key: self.decode(one) for key, one in value.items()}
        return self._object(value)

    def make(self, name: str, data: dict[str, Any], changes: list[str] | None = None) -> Any:
        """Return an object of this release, as it is sent."""
        found = {
            NAME: name,
            NAMESPACE: 'nova',
            VERSION: '%d.%d' % max(self._versions[name]),
            DATA: data,
        }
        if changes:
            found[CHANGES] = sorted(changes)
        return self.decode(found)

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        name = value[NAME]
        if value.get(NAMESPACE) != 'nova':
            raise Lost('%s is of namespace %r' % (name, value.get(NAMESPACE)))
        if name not in self._versions:
            raise Lost('nobody knows an object %s' % name)
        told = _numbers(value[VERSION])
        known = [one for one in self._versions[name] if one[0] == told[0]]
        if not known or max(known) < told:
            raise Lost('%s %s is not known in %s' % (name, value[VERSION], self.release))
        fields = self._fields(name, max(self._versions[name]))
        found = {key: value[key] for key in (NAME, NAMESPACE, VERSION)}
        found[DATA] = {
            key: self._field(name, key, one, fields[key])
            for key, one in value[DATA].items()
            if key in fields
        }
        changes = [key for key in value.get(CHANGES, ()) if key in fields]
        if changes:
            found[CHANGES] = changes
        return found

    def _fields(self, name: str, newest: tuple[int, int]) -> dict[str, Any]:
        fact = FACTS[name]
        known = {**(fact.get('fields_rocky') or {}), **(fact.get('fields_mitaka') or {})}
        return {
            key: one for key, one in known.items() if _numbers(one.get('since', '1.0')) <= newest
        }

    def _field(self, name: str, key: str, value: Any, fact: dict[str, Any]) -> Any:
        """Return the value of a field, which nova checks when it sets it."""
        if value is None:
            if not fact['nullable'] and fact.get('default') is None:
                raise Lost('%s.%s cannot be null' % (name, key))
            return None
        kind = fact['type']
        try:
            if kind == 'Integer':
                int(value)
            elif kind == 'DateTime':
                datetime.datetime.fromisoformat(value)
            elif kind == 'object' and NAME not in value:
                raise ValueError('no object')
            elif kind == 'list of objects' and not all(NAME in one for one in value):
                raise ValueError('no list of objects')
            elif kind == 'dict of String' and not all(
                isinstance(one, str) for one in value.values()
            ):
                raise ValueError('no texts')
            elif kind == 'String' and not isinstance(value, str | int | float):
                raise ValueError('no text')
        except (TypeError, ValueError, AttributeError) as error:
            raise Lost('%s.%s is %r: %s' % (name, key, value, error)) from None
        return self.decode(value)


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split('.')[:2]
    return int(major), int(minor)
