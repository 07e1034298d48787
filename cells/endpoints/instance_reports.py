"""What is told of instances: up to the top of the tree, and down by the top."""

from collections.abc import Mapping
from typing import Any, Final

from cells import arguments, context, exceptions, rpc, times
from cells.endpoints import given, orders
from cells.objects import plain

DELETE_EVERYWHERE_TYPES: Final = ('soft', 'hard')

_COUNTERS: Final = ('bw_in', 'bw_out', 'last_ctr_in', 'last_ctr_out')


class InstanceReportMethods(orders.Orders):
    """What keeps records of instances in different cells alike."""

    # -- up --

    @rpc.served
    def instance_update_at_top(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Have the top take over what has changed in an instance."""
        with self.refusals_noted(ctxt, 'instance_update_at_top'):
            self._report(ctxt, 'instance_update_at_top', instance=given.instance(instance))

    @rpc.served
    def instance_destroy_at_top(self, ctxt: context.RequestContext, instance: Any) -> None:
        """Have the top delete its record of an instance."""
        with self.refusals_noted(ctxt, 'instance_destroy_at_top'):
            self._report(ctxt, 'instance_destroy_at_top', instance=given.instance(instance))

    @rpc.served
    def instance_fault_create_at_top(
        self, ctxt: context.RequestContext, instance_fault: Any
    ) -> None:
        """Have the top note an error of an instance.

        :param instance_fault: its row, as a dictionary.
        """
        with self.refusals_noted(ctxt, 'instance_fault_create_at_top'):
            fault = arguments.mapping('instance_fault', plain.flatten(instance_fault))
            _check_uuid('instance_fault.instance_uuid', fault.get('instance_uuid'))
            self._report(ctxt, 'instance_fault_create_at_top', instance_fault=fault)

    @rpc.served
    def bw_usage_update_at_top(self, ctxt: context.RequestContext, bw_update_info: Any) -> None:
        """Have the top note what went through an interface of an instance in a period.

        :param bw_update_info: uuid, mac, start_period, bw_in, bw_out, last_ctr_in,
            last_ctr_out, last_refreshed.
        """
        with self.refusals_noted(ctxt, 'bw_usage_update_at_top'):
            usage = arguments.mapping('bw_update_info', bw_update_info)
            _check_uuid('bw_update_info.uuid', usage.get('uuid'))
            arguments.text('bw_update_info.mac', usage.get('mac'))
            times.parse('bw_update_info.start_period', usage.get('start_period'))
            if usage.get('last_refreshed') is not None:
                times.parse('bw_update_info.last_refreshed', usage['last_refreshed'])
            for name in _COUNTERS:
                arguments.number('bw_update_info.%s' % name, usage.get(name))
            self._report(ctxt, 'bw_usage_update_at_top', bw_update_info=usage)

    @rpc.served
    def bdm_update_or_create_at_top(
        self, ctxt: context.RequestContext, bdm: Any, create: bool | None = None
    ) -> None:
        """Have the top take over a block device.

        :param create: whether it is new; None: the top is to see.
        """
        with self.refusals_noted(ctxt, 'bdm_update_or_create_at_top'):
            row = given.device_row(bdm)
            if create is not None:
                arguments.boolean('create', create)
            self._report(ctxt, 'bdm_update_or_create_at_top', bdm=row, create=create)

    @rpc.served
    def bdm_destroy_at_top(
        self,
        ctxt: context.RequestContext,
        instance_uuid: str,
        device_name: str | None = None,
        volume_id: str | None = None,
    ) -> None:
        """Have the top delete a block device of an instance.

        :param device_name: says which; or, without that, ``volume_id``.
        """
        with self.refusals_noted(ctxt, 'bdm_destroy_at_top'):
            _check_uuid('instance_uuid', instance_uuid)
            for name, value in (('device_name', device_name), ('volume_id', volume_id)):
                if value is not None:
                    arguments.text(name, value)
            if device_name is None and volume_id is None:
                raise exceptions.Invalid(reason='neither device_name nor volume_id is given')
            self._report(
                ctxt,
                'bdm_destroy_at_top',
                instance_uuid=instance_uuid,
                device_name=device_name,
                volume_id=volume_id,
            )

    def _report(self, ctxt: context.RequestContext, operation: str, **kwargs: Any) -> None:
        """Send a report on its way up. Returns when it is safe."""
        self._runner.change(ctxt, operation, kwargs)

    # -- down --

    @rpc.served
    def instance_update_from_api(
        self,
        ctxt: context.RequestContext,
        instance: Any,
        expected_vm_state: Any,
        expected_task_state: Any,
        admin_state_reset: bool,
    ) -> None:
        """Have the cell of an instance take over what has changed in it.

        :param expected_vm_state: and ``expected_task_state``: what it must be there, or a list
            of that; None for anything.
        :param admin_state_reset: whether the states are taken over too.
        """
        with self.refusals_noted(ctxt, 'instance_update_from_api', instance):
            self.order(
                ctxt,
                'instance_update_from_api',
                instance,
                expected_vm_state=_states('expected_vm_state', expected_vm_state),
                expected_task_state=_states('expected_task_state', expected_task_state),
                admin_state_reset=arguments.boolean('admin_state_reset', admin_state_reset),
            )

    @rpc.served
    def instance_delete_everywhere(
        self, ctxt: context.RequestContext, instance: Any, delete_type: str
    ) -> None:
        """Delete an instance of which it is not known yet in which cell it is.

        :param delete_type: ``soft`` or ``hard``.
        """
        with self.refusals_noted(ctxt, 'instance_delete_everywhere', instance):
            kind = arguments.word('delete_type', delete_type, DELETE_EVERYWHERE_TYPES)
            kwargs = {'instance': given.instance(instance), 'delete_type': kind}
            self._runner.change(ctxt, 'instance_delete_everywhere', kwargs)


def _check_uuid(name: str, value: object) -> None:
    arguments.text(name, value, longest=given.LONGEST_UUID)


def _states(name: str, value: Any) -> Any:
    """Return states that are expected: None, a text, or a list of both."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping) or not isinstance(value, list | tuple | set):
        raise exceptions.Invalid(
            reason='%s is %.80s, not a state or several' % (name, ascii(value))
        )
    return [None if one is None else arguments.text(name, one) for one in value]
