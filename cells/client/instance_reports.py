"""What is told of instances: to the top by who changes them below, and down by an API cell."""

import logging
from collections.abc import Mapping
from typing import Any

from cells import rpc, versions
from cells.client import contract
from cells.objects import base as objects_base
from cells.objects import instance as instance_objects
from cells.objects import plain

LOG = logging.getLogger(__name__)


class InstanceReports(contract.ContractClient):
    """How records of instances in different cells are kept alike.

    Cells of ours keep the records at the top up to date by themselves; the methods
    ``*_at_top`` are for other services in a cell that change something.
    """

    # -- up --

    def instance_update_at_top(self, ctxt: Any, instance: Any) -> None:
        """Have the top take over what has changed in an Instance."""
        self._order(ctxt, 'instance_update_at_top', instance=instance)

    def instance_destroy_at_top(self, ctxt: Any, instance: Any) -> None:
        """Have the top delete its record of an Instance."""
        self._order(ctxt, 'instance_destroy_at_top', instance=instance)

    def instance_info_cache_update_at_top(self, ctxt: Any, instance_info_cache: Any) -> None:
        """Have the top take over the network of an instance, an InstanceInfoCache or its row."""
        cache = instance_info_cache
        if isinstance(cache, Mapping):
            cache = plain.build('InstanceInfoCache', cache)
        elif not isinstance(cache, objects_base.CellsObject):
            cache = objects_base.from_primitive(cache.obj_to_primitive())
        instance = instance_objects.Instance(uuid=cache.instance_uuid, info_cache=cache)
        # The first release that takes objects here; all later ones read its version as well.
        instance.VERSION = versions.OBJECT_VERSIONS['liberty']['Instance']
        self._order(ctxt, 'instance_update_at_top', instance=instance)

    def instance_fault_create_at_top(self, ctxt: Any, instance_fault: Any) -> None:
        """Have the top note an error of an instance, an InstanceFault or its row."""
        fault = plain.flatten(instance_fault)
        self._order(ctxt, 'instance_fault_create_at_top', instance_fault=fault)

    def bw_usage_update_at_top(
        self,
        ctxt: Any,
        uuid: str,
        mac: str,
        start_period: Any,
        bw_in: int,
        bw_out: int,
        last_ctr_in: int,
        last_ctr_out: int,
        last_refreshed: Any = None,
    ) -> None:
        """Have the top note what went through an interface of an instance in a period.

        :param start_period: and ``last_refreshed``: datetimes, or texts of them.
        """
        usage = {
            'uuid': uuid,
            'mac': mac,
            'start_period': str(start_period),
            'bw_in': bw_in,
            'bw_out': bw_out,
            'last_ctr_in': last_ctr_in,
            'last_ctr_out': last_ctr_out,
            'last_refreshed': None if last_refreshed is None else str(last_refreshed),
        }
        self._order(ctxt, 'bw_usage_update_at_top', bw_update_info=usage)

    def bdm_update_or_create_at_top(self, ctxt: Any, bdm: Any, create: bool | None = None) -> None:
        """Have the top take over a BlockDeviceMapping. What keeps it from being sent is logged.

        :param create: whether it is new; None: the top is to see.
        """
        self._send_or_log(ctxt, 'bdm_update_or_create_at_top', bdm=bdm, create=create)

    def bdm_destroy_at_top(
        self,
        ctxt: Any,
        instance_uuid: str,
        device_name: str | None = None,
        volume_id: str | None = None,
    ) -> None:
        """Have the top delete a block device. What keeps it from being sent is logged.

        :param device_name: says which; or, without that, ``volume_id``.
        """
        self._send_or_log(
            ctxt,
            'bdm_destroy_at_top',
            instance_uuid=instance_uuid,
            device_name=device_name,
            volume_id=volume_id,
        )

    def _send_or_log(self, ctxt: Any, method: str, **values: Any) -> None:
        try:
            self._order(ctxt, method, **values)
        except rpc.SEND_ERRORS as error:
            LOG.error(
                '%s was not sent (request %s): %s',
                method,
                getattr(ctxt, 'request_id', None),
                error,
            )

    # -- down --

    def instance_update_from_api(
        self,
        ctxt: Any,
        instance: Any,
        expected_vm_state: Any,
        expected_task_state: Any,
        admin_state_reset: bool,
    ) -> None:
        """Have the cell of an Instance take over what has changed in it.

        :param expected_vm_state: a state or several that it must have there; None for any.
        :param expected_task_state: the same for its task state.
        :param admin_state_reset: whether the states are taken over too.
        """
        self._order(
            ctxt,
            'instance_update_from_api',
            instance=instance,
            expected_vm_state=expected_vm_state,
            expected_task_state=expected_task_state,
            admin_state_reset=admin_state_reset,
        )

    def instance_delete_everywhere(self, ctxt: Any, instance: Any, delete_type: str) -> None:
        """Delete an Instance of which it is not known yet in which cell it is.

        :param delete_type: ``soft`` or ``hard``.
        """
        self._order(ctxt, 'instance_delete_everywhere', instance=instance, delete_type=delete_type)
