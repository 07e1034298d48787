"""What plain cells tell of what belongs to instances: faults, block devices, bandwidth."""

import functools
import logging
import uuid as uuids
from typing import Any, Final

import sqlalchemy as sa

from cells import arguments, exceptions, messages, times, wire
from cells.db import bandwidth, block_devices, faults
from cells.handlers.plain_base import LONGEST_UUID, PlainHandlers
from cells.objects import plain

LOG = logging.getLogger(__name__)

#: Names derived from what a fault says, so that a repetition has the same.
NAMESPACE: Final = uuids.UUID('0a3c9b43-5a0b-4a5f-8f0e-5c6c3a9b9d11')


class PlainBelongingHandlers(PlainHandlers):
    """Takes over what belongs to instances; changes from the journal."""

    OPERATIONS: Final = (
        'bdm_destroy_at_top',
        'bdm_update_or_create_at_top',
        'bw_usage_update_at_top',
        'instance_fault_create_at_top',
    )

    def instance_fault_create_at_top(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance_fault: object,
        **ignored: object,
    ) -> None:
        """Note an error of an instance, once however often it is told.

        :raises Invalid: it is none.
        """
        given = arguments.mapping('instance_fault', plain.flatten(instance_fault))
        uuid = arguments.text('instance_fault.instance_uuid', given.get('instance_uuid'))
        if not self._owned(connection, 'instance_fault_create_at_top', uuid, message):
            return
        code = arguments.number('instance_fault.code', given.get('code', 500), 0, 999)
        text, details, host = (
            arguments.text('instance_fault.' + name, value, longest=most, empty=True)
            for name, value, most in (
                ('message', given.get('message') or '', 1_000_000),
                ('details', given.get('details') or '', 10_000_000),
                ('host', given.get('host') or '', 255),
            )
        )
        moment = given.get('created_at')
        # What does not say when it was is another one each time.
        said = [uuid, code, text, host, wire.bare_uuid(message.uuid) if moment is None else moment]
        faults.fault_create(
            connection,
            uuid,
            text,
            code=code,
            details=details or None,
            host=host or None,
            uuid=str(uuids.uuid5(NAMESPACE, '|'.join(map(str, said)))),
        )
        self._applied()

    def bdm_update_or_create_at_top(
        self,
        connection: sa.Connection,
        message: messages.Message,
        bdm: object,
        create: bool | None = None,
        **ignored: object,
    ) -> None:
        """Take over a block device. A volume has one row, whatever comes first (S10).

        :param create: False: one that is not known is left out.
        :raises Invalid: it is none.
        """
        values = _device(bdm)
        uuid = values.pop('instance_uuid')
        if not self._owned(connection, 'bdm_update_or_create_at_top', uuid, message):
            return
        find = functools.partial(block_devices.bdm_find, connection, uuid)
        known = None
        for name in ('uuid', 'volume_id', 'device_name'):
            if known is None and values.get(name) is not None:
                known = find(**{name: values[name]})
        if known is None and create is False:
            self._drop('missing')
            LOG.info('Cell %s changed a block device of %s that is not known', message.source, uuid)
            return
        if known is not None:
            values['uuid'] = known['uuid']
        block_devices.bdm_save(connection, uuid, values, sync=False)
        self._applied()

    def bdm_destroy_at_top(
        self,
        connection: sa.Connection,
        message: messages.Message,
        instance_uuid: object,
        device_name: object = None,
        volume_id: object = None,
        **ignored: object,
    ) -> None:
        """Delete a block device of an instance, by its name or else its volume.

        :raises Invalid: an argument is no text.
        """
        uuid = arguments.text('instance_uuid', instance_uuid)
        if not self._owned(connection, 'bdm_destroy_at_top', uuid, message):
            return
        by: dict[str, Any] = {}
        if device_name is not None:
            by['device_name'] = arguments.text('device_name', device_name)
        elif volume_id is not None:
            by['volume_id'] = arguments.text('volume_id', volume_id)
        if by and block_devices.bdm_destroy(connection, uuid, sync=False, **by):
            self._applied()

    def bw_usage_update_at_top(
        self,
        connection: sa.Connection,
        message: messages.Message,
        bw_update_info: object,
        **ignored: object,
    ) -> None:
        """Take over what went through an interface of an instance in a period.

        :raises Invalid: a value does not fit.
        """
        given = arguments.mapping('bw_update_info', bw_update_info)
        uuid = arguments.text('uuid', given.get('uuid'), longest=LONGEST_UUID)
        if not self._owned(connection, 'bw_usage_update_at_top', uuid, message):
            return
        values: dict[str, Any] = {'uuid': uuid, 'mac': arguments.text('mac', given.get('mac'))}
        values['start_period'] = times.parse('start_period', given.get('start_period'))
        if given.get('last_refreshed') is not None:
            values['last_refreshed'] = times.parse('last_refreshed', given['last_refreshed'])
        for name in bandwidth.COUNTERS:
            values[name] = arguments.number(name, given.get(name) or 0)
        bandwidth.bw_usage_update(connection, values)
        self._applied()


def _device(bdm: object) -> dict[str, Any]:
    """Return the columns of a block device.

    :raises Invalid: it is none, or of no instance.
    """
    given = arguments.mapping('bdm', plain.flatten(bdm))
    try:
        built = plain.build('BlockDeviceMapping', {**given, 'instance': None})
    except (TypeError, ValueError, AttributeError) as error:
        raise exceptions.Invalid(reason='bdm: %.200s' % ascii(str(error))) from None
    if 'instance_uuid' not in built:
        raise exceptions.Invalid(reason='bdm has no instance_uuid')
    arguments.text('bdm.instance_uuid', built.instance_uuid, longest=LONGEST_UUID)
    taken = (*block_devices.STATE, 'instance_uuid')
    found = {name: value for name, value in built.items() if name in taken}
    for name in ('deleted', 'deleted_at'):
        found.pop(name, None)
    return found
