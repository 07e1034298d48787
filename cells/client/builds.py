"""Orders to build instances."""

from collections.abc import Mapping
from typing import Any, Final

from cells.client import base
from cells.objects import plain

#: What nova's clients leave an object in instances that are plain otherwise.
LEFT_OBJECTS: Final = ('InstanceInfoCache',)


class BuildCalls(base.Client):
    """How instances are ordered."""

    def build_instances(self, ctxt: Any, **kwargs: Any) -> None:
        """Order the building of instances, wherever there is room for them.

        Whatever becomes of it is seen in their records at the top.

        :param kwargs: ``instances`` (of Instance, in one request), ``image`` (a
            dictionary), ``filter_properties`` (``instance_type``, a Flavor;
            ``scheduler_hints``), ``admin_password``, ``injected_files``,
            ``requested_networks`` (a NetworkRequestList or None), ``security_groups``
            (names), ``block_device_mapping`` (a BlockDeviceMappingList); ``legacy_bdm`` is for
            cells before 1.34 only.
        """
        if 'image' in kwargs:
            kwargs['image'] = plain.flatten(kwargs['image'])
        if self._can_send('1.34'):
            kwargs.pop('legacy_bdm', None)
            self._cast(ctxt, '1.34', 'build_instances', build_inst_kwargs=kwargs)
            return
        version = '1.32'
        kwargs.update(_plain_devices(kwargs))
        if not self._can_send('1.32'):
            version = '1.30'
            if 'instances' in kwargs:
                kwargs['instances'] = plain.flatten(kwargs['instances'], kept=LEFT_OBJECTS)
        if not self._can_send('1.30'):
            version = '1.8'
            kwargs.update(_plain_flavor(kwargs))
        self._cast(ctxt, version, 'build_instances', build_inst_kwargs=kwargs)


def _plain_devices(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the block devices as dictionaries; a list that is no object is sent as it is."""
    devices = kwargs.get('block_device_mapping')
    if not hasattr(devices, 'obj_to_primitive'):
        return {}
    return {'block_device_mapping': plain.flatten(devices, moment=str)}


def _plain_flavor(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    properties = kwargs.get('filter_properties')
    if not properties or not hasattr(properties.get('instance_type'), 'obj_to_primitive'):
        return {}
    flavor = plain.flatten(properties['instance_type'], moment=str)
    return {'filter_properties': {**properties, 'instance_type': flavor}}
