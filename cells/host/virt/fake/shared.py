"""What all fake hosts of a cell see: images, and what an instance takes with it to another host.

Each is a small file, replaced as a whole, so that no host ever sees half of one.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping
from typing import Any, Final

from cells import exceptions
from cells.host.virt.fake.machine import Machine

_SAFE: Final = re.compile(r'[A-Za-z0-9_-]{1,100}')
SAVING: Final = 'saving'
ACTIVE: Final = 'active'


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image that was made of an instance.

    :ivar op_id: the operation that makes it.
    :ivar kind: snapshot, backup or shelve.
    :ivar content: that of the disk.
    :ivar created_at: seconds since the epoch.
    """

    id: str
    name: str
    op_id: str
    instance_uuid: str
    kind: str
    backup_type: str | None
    content: str
    size_gb: int
    created_at: float
    status: str = SAVING

    def saved(self) -> 'Image':
        """Return the image when all of it is there."""
        return dataclasses.replace(self, status=ACTIVE)


class Shared:
    """The directory.

    :param path: ``[compute] fake_images_path``.
    :param host: this host.
    :param missing: ids of images that there are not.
    """

    def __init__(self, path: pathlib.Path, host: str, missing: frozenset[str]) -> None:
        self._images = path / 'images'
        self._machines = path / 'machines'
        self._host = host
        self._missing = missing

    def open(self) -> None:
        """Make the directory if it is missing.

        :raises ConfigurationError: it cannot be used.
        """
        try:
            for one in (self._images, self._machines):
                one.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=one).close()
        except OSError as error:
            raise exceptions.ConfigurationError(
                reason='[compute] fake_images_path = %s cannot be used: %s'
                % (self._images.parent, error)
            ) from None

    # -- images --

    def content(self, image_id: str | None, new: str) -> str:
        """Return the content of a disk that is made of an image.

        :param new: of the disk when it is an image that somebody has uploaded.
        :raises ImageNotFound: there is none.
        """
        if not image_id:
            return new
        if image_id in self._missing:
            raise exceptions.ImageNotFound(image_id=image_id)
        found = self.image(image_id)
        if found is None:
            return new
        if found.status != ACTIVE:
            raise exceptions.ImageNotFound(
                'Image %s could not be found: it is still being saved.' % image_id,
                image_id=image_id,
            )
        return found.content

    def image(self, image_id: str) -> Image | None:
        """Return an image that was made of an instance, None if there is none of this id."""
        found = _read(self._images / _file(image_id))
        return None if found is None else Image(**found)

    def images(self, instance_uuid: str, kind: str, backup_type: str | None) -> list[Image]:
        """Return the images of an instance of one kind, the oldest first."""
        found = [_read(one) for one in self._images.glob('*.json')]
        images = [Image(**one) for one in found if one is not None]
        wanted = [
            one
            for one in images
            if (one.instance_uuid, one.kind, one.backup_type) == (instance_uuid, kind, backup_type)
        ]
        return sorted(wanted, key=lambda one: (one.created_at, one.id))

    def keep_image(self, image: Image) -> None:
        """Keep an image as it is now."""
        _write(self._images / _file(image.id), dataclasses.asdict(image))

    def drop_image(self, image_id: str) -> None:
        """Delete an image."""
        (self._images / _file(image_id)).unlink(missing_ok=True)

    # -- what an instance takes with it --

    def keep_machine(self, machine: Machine) -> None:
        """Keep what a machine of this host is now."""
        _write(
            self._machines / _file(machine.uuid),
            {'host': self._host, 'machine': machine.to_json()},
        )

    def mend_machine(self, machine: Machine) -> None:
        """Do so unless it is on another host by now."""
        found = _read(self._machines / _file(machine.uuid))
        if found is None or found['host'] == self._host:
            self.keep_machine(machine)

    def machine(self, uuid: str) -> Machine | None:
        """Return what the machine of an instance was last, on any host."""
        found = _read(self._machines / _file(uuid))
        return None if found is None else Machine.from_json(found['machine'])

    def drop_machine(self, uuid: str) -> None:
        """Forget a machine that is deleted, unless it has come to another host since."""
        path = self._machines / _file(uuid)
        found = _read(path)
        if found is not None and found['host'] == self._host:
            path.unlink(missing_ok=True)


def _file(name: str) -> str:
    """Return the name of the file for something that others have named."""
    safe = name if _SAFE.fullmatch(name) else 'x%s' % hashlib.sha256(name.encode()).hexdigest()
    return '%s.json' % safe


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _write(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix='.new-')
    try:
        with os.fdopen(handle, 'w') as file:
            json.dump(values, file)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
