"""Compute nodes."""

from cells.objects import base, fields, words


@base.register
class ComputeNode(base.CellsObject):
    """A compute node of a cell."""

    fields = {
        'cpu_allocation_ratio': fields.since('1.14', fields.FloatField()),
        'cpu_info': fields.StringField(nullable=True),
        'current_workload': fields.IntegerField(nullable=True),
        'disk_allocation_ratio': fields.since('1.16', fields.FloatField()),
        'disk_available_least': fields.IntegerField(nullable=True),
        'free_disk_gb': fields.IntegerField(nullable=True),
        'free_ram_mb': fields.IntegerField(nullable=True),
        'host': fields.since('1.7', fields.StringField(nullable=True)),
        'host_ip': fields.since('1.4', fields.IPAddressField(nullable=True)),
        'hypervisor_hostname': fields.StringField(nullable=True),
        'hypervisor_type': fields.StringField(),
        'hypervisor_version': fields.IntegerField(),
        'id': fields.IntegerField(read_only=True),
        'local_gb': fields.IntegerField(),
        'local_gb_used': fields.IntegerField(),
        'memory_mb': fields.IntegerField(),
        'memory_mb_used': fields.IntegerField(),
        'metrics': fields.since('1.2', fields.StringField(nullable=True)),
        'numa_topology': fields.since('1.5', fields.StringField(nullable=True)),
        'pci_device_pools': fields.since(
            '1.9', fields.ObjectField('PciDevicePoolList', nullable=True)
        ),
        'ram_allocation_ratio': fields.since('1.14', fields.FloatField()),
        'running_vms': fields.IntegerField(nullable=True),
        'service_id': fields.IntegerField(nullable=True),
        'stats': fields.since('1.3', fields.DictOfNullableStringsField(nullable=True)),
        'supported_hv_specs': fields.since('1.6', fields.ListOfObjectsField('HVSpec')),
        'uuid': fields.since('1.15', fields.UUIDField(read_only=True)),
        'vcpus': fields.IntegerField(),
        'vcpus_used': fields.IntegerField(),
        'mapped': fields.since('1.17', fields.IntegerField()),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class ComputeNodeList(base.CellsObjectList):
    """A list of ComputeNode."""

    fields = {
        'objects': fields.ListOfObjectsField('ComputeNode'),
    }


@base.register
class HVSpec(base.CellsObject):
    """A kind of guest that a node can run."""

    fields = {
        'arch': words.ArchitectureField(),
        'hv_type': words.HVTypeField(),
        'vm_mode': words.VMModeField(),
    }
