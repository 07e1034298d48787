"""Instances and what is kept for each of them."""

from typing import Any

from cells.objects import base, fields


@base.register
class Instance(base.CellsObject):
    """An instance."""

    fields = {
        'access_ip_v4': fields.IPV4AddressField(nullable=True),
        'access_ip_v6': fields.IPV6AddressField(nullable=True),
        'architecture': fields.StringField(nullable=True),
        'auto_disk_config': fields.BooleanField(default=False),
        'availability_zone': fields.StringField(nullable=True),
        'cell_name': fields.StringField(nullable=True),
        'cleaned': fields.since('1.5', fields.BooleanField(default=False)),
        'config_drive': fields.StringField(nullable=True),
        'default_ephemeral_device': fields.StringField(nullable=True),
        'default_swap_device': fields.StringField(nullable=True),
        'disable_terminate': fields.BooleanField(default=False),
        'display_description': fields.StringField(nullable=True),
        'display_name': fields.StringField(nullable=True),
        'ec2_ids': fields.since('1.20', fields.ObjectField('EC2Ids')),
        'ephemeral_gb': fields.IntegerField(nullable=True),
        'ephemeral_key_uuid': fields.since('1.12', fields.UUIDField(nullable=True)),
        'fault': fields.since('1.2', fields.ObjectField('InstanceFault', nullable=True)),
        'flavor': fields.since('1.18', fields.ObjectField('Flavor')),
        'host': fields.StringField(nullable=True),
        'hostname': fields.StringField(nullable=True),
        'id': fields.IntegerField(),
        'image_ref': fields.StringField(nullable=True),
        'info_cache': fields.since('1.1', fields.ObjectField('InstanceInfoCache', nullable=True)),
        'instance_type_id': fields.IntegerField(nullable=True),
        'kernel_id': fields.StringField(nullable=True),
        'key_data': fields.StringField(nullable=True),
        'key_name': fields.StringField(nullable=True),
        'launch_index': fields.IntegerField(nullable=True),
        'launched_at': fields.DateTimeField(nullable=True),
        'launched_on': fields.StringField(nullable=True),
        'locked': fields.BooleanField(default=False),
        'locked_by': fields.since('1.4', fields.StringField(nullable=True)),
        'memory_mb': fields.IntegerField(nullable=True),
        'metadata': fields.DictOfStringsField(),
        'migration_context': fields.since(
            '1.23', fields.ObjectField('MigrationContext', nullable=True)
        ),
        'new_flavor': fields.since('1.18', fields.ObjectField('Flavor', nullable=True)),
        'node': fields.StringField(nullable=True),
        'numa_topology': fields.since(
            '1.14', fields.ObjectField('InstanceNUMATopology', nullable=True)
        ),
        'old_flavor': fields.since('1.18', fields.ObjectField('Flavor', nullable=True)),
        'os_type': fields.StringField(nullable=True),
        'pci_devices': fields.since('1.6', fields.ObjectField('PciDeviceList', nullable=True)),
        'pci_requests': fields.since(
            '1.16', fields.ObjectField('InstancePCIRequests', nullable=True)
        ),
        'power_state': fields.IntegerField(nullable=True),
        'progress': fields.IntegerField(nullable=True),
        'project_id': fields.StringField(nullable=True),
        'ramdisk_id': fields.StringField(nullable=True),
        'reservation_id': fields.StringField(nullable=True),
        'root_device_name': fields.StringField(nullable=True),
        'root_gb': fields.IntegerField(nullable=True),
        'security_groups': fields.since('1.2', fields.ObjectField('SecurityGroupList')),
        'services': fields.since('2.1', fields.ObjectField('ServiceList')),
        'shutdown_terminate': fields.BooleanField(default=False),
        'system_metadata': fields.DictOfNullableStringsField(),
        'tags': fields.since('1.17', fields.ObjectField('TagList')),
        'task_state': fields.StringField(nullable=True),
        'terminated_at': fields.DateTimeField(nullable=True),
        'user_data': fields.StringField(nullable=True),
        'user_id': fields.StringField(nullable=True),
        'uuid': fields.UUIDField(),
        'vcpu_model': fields.since('1.19', fields.ObjectField('VirtCPUModel', nullable=True)),
        'vcpus': fields.IntegerField(nullable=True),
        'vm_mode': fields.StringField(nullable=True),
        'vm_state': fields.StringField(nullable=True),
        'device_metadata': fields.since(
            '2.3', fields.ObjectField('InstanceDeviceMetadata', nullable=True)
        ),
        'keypairs': fields.since('2.2', fields.ObjectField('KeyPairList')),
        'trusted_certs': fields.since('2.4', fields.ObjectField('TrustedCerts', nullable=True)),
        **base.CellsObject.STORED_FIELDS,
    }

    def flattened_extras(self, instance_name_template: str) -> dict[str, Any]:
        """Return its name; a template may name fields, as in ``uuid-%(uuid)s``."""
        try:
            return {'name': instance_name_template % self.id}
        except AttributeError:
            return {}
        except TypeError:
            return {'name': instance_name_template % dict(self.items())}


@base.register
class InstanceList(base.CellsObjectList):
    """A list of Instance."""

    fields = {
        'objects': fields.ListOfObjectsField('Instance'),
    }


@base.register
class InstanceInfoCache(base.CellsObject):
    """The network of an instance as it was last seen."""

    fields = {
        'instance_uuid': fields.UUIDField(),
        'network_info': fields.NetworkModelField(nullable=True),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class InstanceFault(base.CellsObject):
    """An error that befell an instance."""

    fields = {
        'code': fields.IntegerField(),
        'details': fields.StringField(nullable=True),
        'host': fields.StringField(nullable=True),
        'id': fields.IntegerField(),
        'instance_uuid': fields.UUIDField(),
        'message': fields.StringField(nullable=True),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class EC2Ids(base.CellsObject):
    """Names of an instance and its images in the EC2 API."""

    fields = {
        'ami_id': fields.StringField(nullable=True, read_only=True),
        'instance_id': fields.StringField(read_only=True),
        'kernel_id': fields.StringField(nullable=True, read_only=True),
        'ramdisk_id': fields.StringField(nullable=True, read_only=True),
    }


@base.register
class MigrationContext(base.CellsObject):
    """What an instance has before and after a move."""

    fields = {
        'instance_uuid': fields.UUIDField(),
        'migration_id': fields.IntegerField(),
        'new_numa_topology': fields.ObjectField('InstanceNUMATopology', nullable=True),
        'old_numa_topology': fields.ObjectField('InstanceNUMATopology', nullable=True),
        'new_pci_devices': fields.since('1.1', fields.ObjectField('PciDeviceList', nullable=True)),
        'new_pci_requests': fields.since(
            '1.1', fields.ObjectField('InstancePCIRequests', nullable=True)
        ),
        'old_pci_devices': fields.since('1.1', fields.ObjectField('PciDeviceList', nullable=True)),
        'old_pci_requests': fields.since(
            '1.1', fields.ObjectField('InstancePCIRequests', nullable=True)
        ),
        **base.CellsObject.STORED_FIELDS,
    }


@base.register
class TrustedCerts(base.CellsObject):
    """Certificates that the image of an instance must be signed with."""

    fields = {
        'ids': fields.ListOfStringsField(),
    }
