"""The request context and its form on the wire.

``spec/intercell.json`` (``request_context``) lists the keys. A context keeps
the dictionary that it came from, so keys that this version does not know
reach the next process unchanged.
"""

import datetime
from collections.abc import Mapping
from typing import Any, Final

from oslo_context import context as oslo_context

#: What a request may see of what is deleted.
READ_DELETED: Final = ('no', 'yes', 'only')


class RequestContext(oslo_context.RequestContext):
    """Who asks, for which project, under which request id.

    :param wire: the dictionary that it came from.
    :param delivery_id: the id of the RPC delivery that it came with; never sent on.
    """

    def __init__(
        self,
        user_id: str | None = None,
        project_id: str | None = None,
        *,
        read_deleted: str = 'no',
        timestamp: str | None = None,
        wire: Mapping[str, Any] | None = None,
        delivery_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault('overwrite', False)
        super().__init__(user_id=user_id, project_id=project_id, **kwargs)
        self.read_deleted = read_deleted
        self.timestamp = timestamp or _now()
        self.delivery_id = delivery_id
        self._wire = dict(wire) if wire is not None else None

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> 'RequestContext':
        """Return the context that a dictionary from the wire stands for."""
        wire = dict(values)
        delivery_id = wire.pop(DELIVERY_ID, None)
        roles, read_deleted = wire.get('roles'), wire.get('read_deleted')
        return cls(
            wire.get('user_id', wire.get('user')),
            wire.get('project_id', wire.get('tenant')),
            read_deleted=read_deleted if read_deleted in READ_DELETED else 'no',
            timestamp=wire.get('timestamp'),
            is_admin=bool(wire.get('is_admin')),
            roles=roles if isinstance(roles, list) else [],
            request_id=wire.get('request_id'),
            global_request_id=wire.get('global_request_id'),
            auth_token=wire.get('auth_token'),
            wire=wire,
            delivery_id=delivery_id,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the form for the wire: what it came from, or all keys of the contract."""
        if self._wire is not None:
            return dict(self._wire)
        values = super().to_dict()
        values.update(
            user_id=self.user_id,
            tenant=self.project_id,
            user_name=self.user_name,
            project_name=self.project_name,
            read_deleted=self.read_deleted,
            timestamp=self.timestamp,
            remote_address=None,
            quota_class=None,
            service_catalog=[],
            instance_lock_checked=False,
        )
        return values


#: Key under which a server hands the id of a delivery to its endpoints.
DELIVERY_ID = 'cells.delivery_id'


def _now() -> str:
    now = datetime.datetime.now(datetime.UTC)
    return now.replace(tzinfo=None).isoformat(timespec='microseconds')


def asked_at(ctxt: Mapping[str, Any]) -> float | None:
    """Return when a user asked, in seconds since the epoch.

    :param ctxt: in its form on the wire.
    :returns: None when it does not say it in a form that is known (V8).
    """
    try:
        asked = datetime.datetime.fromisoformat(ctxt['timestamp'])
        if asked.tzinfo is None:
            asked = asked.replace(tzinfo=datetime.UTC)
        return asked.timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def background() -> RequestContext:
    """Return the context of what a cell does by itself: the few keys that every peer needs."""
    request_id = oslo_context.generate_request_id()
    wire = {
        'user_id': None,
        'project_id': None,
        'is_admin': True,
        'request_id': request_id,
        'timestamp': _now(),
    }
    return RequestContext(request_id=request_id, is_admin=True, wire=wire)


def answer_context(ctxt: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer keeps of the context of its question: the keys that every peer needs.

    The token and the rest would only be read by others on the way back (R8).
    """
    kept = ('user_id', 'project_id', 'request_id', 'timestamp')
    return {**{key: ctxt.get(key) for key in kept}, 'is_admin': False}


def plain_answer_context(ctxt: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer to a plain cell keeps of the context of its question.

    All that its own answers would (``spec/intercell.json``, ``request_context``), but for secrets
    (X4), and but for what is so long that the answer would grow with the question (R8).
    """
    kept = {key: value for key, value in ctxt.items() if key in _WIRE_KEYS and _is_short(value)}
    for key, nothing in (('auth_token', None), ('service_catalog', [])):
        if key in ctxt:
            kept[key] = nothing
    return kept


#: Keys of the contexts of all releases.
_WIRE_KEYS: Final = frozenset(
    (
        'auth_token',
        'domain',
        'global_request_id',
        'instance_lock_checked',
        'is_admin',
        'is_admin_project',
        'project',
        'project_domain',
        'project_id',
        'project_name',
        'quota_class',
        'read_deleted',
        'read_only',
        'remote_address',
        'request_id',
        'resource_uuid',
        'roles',
        'service_catalog',
        'show_deleted',
        'system_scope',
        'tenant',
        'timestamp',
        'user',
        'user_domain',
        'user_id',
        'user_identity',
        'user_name',
    )
)
#: Of a value in a context: most characters, and most items of a list.
_LONGEST: Final = 255
_MOST: Final = 100


def _is_short(value: Any) -> bool:
    if isinstance(value, list):
        return (
            len(value) <= _MOST
            and not any(isinstance(one, list) for one in value)
            and all(map(_is_short, value))
        )
    return isinstance(value, bool | int | float | None) or (
        isinstance(value, str) and len(value) <= _LONGEST
    )


def rpc_context(ctxt: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes with a message beside its envelope.

    A receiver reads the context in the envelope (``spec/intercell.json``, ``rpc``),
    so these few keys only name the request for the logs of the bus.
    """
    return {
        'user_id': ctxt.get('user_id'),
        'project_id': ctxt.get('project_id'),
        'request_id': ctxt.get('request_id'),
        'is_admin': False,
    }
