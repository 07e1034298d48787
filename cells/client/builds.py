"""Orders to build instances."""

from typing import Any

from cells.client import contract
from cells.objects import plain


class BuildCalls(contract.ContractClient):
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
        self._order(ctxt, 'build_instances', build_inst_kwargs=kwargs)
