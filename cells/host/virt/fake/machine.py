"""What a pretended machine is."""

import dataclasses
import hashlib
import json
import secrets
import string
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, Self

from cells.host.virt.base import Demand, PowerState

ROOT_DEVICE: Final = '/dev/vda'
_ROUNDS: Final = 1000

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """A machine, or what is held of one that is being resized away.

    :ivar made_by: the operation that brought it here.
    :ivar complete: that operation has come to its end.
    :ivar disks: each with ``device``, ``kind``, ``size_gb``, ``image`` and ``content``, an id that
        differs when the data does.
    :ivar rescue: the disk that it runs from instead, while it is being rescued.
    :ivar volumes: each with ``volume_id`` and ``device``; one that is only reserved has
        ``reserved_at``.
    :ivar interfaces: each with ``port_id``, ``network_id``, ``mac`` and ``addresses``.
    :ivar password: of the administrator, as :func:`hashed` has it.
    :ivar booted_at: seconds since the epoch; None while it is off.
    """

    uuid: str
    name: str
    node: str
    memory_mb: int
    vcpus: int
    root_gb: int
    ephemeral_gb: int
    made_by: str
    complete: bool = False
    power_state: int = PowerState.NOSTATE
    disks: tuple[Values, ...] = ()
    rescue: Values | None = None
    volumes: tuple[Values, ...] = ()
    interfaces: tuple[Values, ...] = ()
    metadata: Values = dataclasses.field(default_factory=dict)
    password: str | None = None
    files: tuple[str, ...] = ()
    guest_network: tuple[Any, ...] = ()
    network_resets: int = 0
    soft_deleted: bool = False
    booted_at: float | None = None
    boots: int = 0
    dumps: int = 0

    def but(self, **values: Any) -> Self:
        """Return the machine with other values."""
        return dataclasses.replace(self, **values)

    @property
    def demand(self) -> Demand:
        """The room that it takes, on or off."""
        return Demand(
            uuid=self.uuid,
            name=self.name,
            node=self.node,
            memory_mb=self.memory_mb,
            vcpus=self.vcpus,
            disk_gb=self.root_gb + self.ephemeral_gb,
        )

    @property
    def root(self) -> Values:
        """The disk that it boots from when it is not being rescued."""
        return self.disks[0]

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the machine of a text."""
        values = json.loads(text)
        for name in ('disks', 'volumes', 'interfaces', 'files', 'guest_network'):
            values[name] = tuple(values[name])
        return cls(**values)


class Sizes(NamedTuple):
    """The sizes of a machine."""

    memory_mb: int
    vcpus: int
    root_gb: int
    ephemeral_gb: int


def sizes(values: Mapping[str, Any]) -> Sizes:
    """Return the sizes that an instance or a flavor has."""
    return Sizes(*(int(values.get(name) or 0) for name in Sizes._fields))


def disks(image: str | None, wanted: Sizes, content: str) -> tuple[Values, ...]:
    """Return the disks of a new machine.

    :param content: of the root disk; an ephemeral one is empty.
    """
    root = _disk(ROOT_DEVICE, 'root', wanted.root_gb, image, content)
    return (root, *_ephemeral(wanted))


def _ephemeral(wanted: Sizes, used: Collection[str] = ()) -> tuple[Values, ...]:
    if not wanted.ephemeral_gb:
        return ()
    names = ('/dev/vd%s' % letter for letter in string.ascii_lowercase[1:])
    device = next(one for one in names if one not in used)
    return (_disk(device, 'ephemeral', wanted.ephemeral_gb, None, 'empty'),)


def rescue_disk(image: str | None, content: str) -> Values:
    """Return the disk that a machine is rescued with."""
    return _disk(ROOT_DEVICE, 'rescue', 1, image, content)


def _disk(device: str, kind: str, size_gb: int, image: object, content: str) -> Values:
    return {
        'device': device,
        'kind': kind,
        'size_gb': size_gb,
        'image': image,
        'content': content,
    }


def resized(machine: Machine, wanted: Sizes) -> Machine:
    """Return a machine with other sizes; what is on its disks stays."""
    root = {**machine.root, 'size_gb': wanted.root_gb}
    others = tuple({**one, 'size_gb': wanted.ephemeral_gb} for one in machine.disks[1:])
    if not wanted.ephemeral_gb or not others:
        others = _ephemeral(wanted, {one['device'] for one in machine.volumes})
    return machine.but(**wanted._asdict(), disks=(root, *others))


def fingerprint(*parts: object) -> str:
    """Return a short id that differs when one of the parts does."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def hashed(password: str | None) -> str | None:
    """Return what is kept of a password."""
    if password is None:
        return None
    salt = secrets.token_hex(8)
    return '%s$%s' % (salt, _digest(password, salt))


def is_password(password: str, kept: str | None) -> bool:
    """Tell whether a password is the one of which something is kept."""
    if kept is None:
        return False
    salt, _, digest = kept.partition('$')
    return secrets.compare_digest(_digest(password, salt), digest)


def _digest(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac('sha256', password.encode(), salt.encode(), _ROUNDS).hex()
