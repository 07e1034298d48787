"""What the scheduler of a cell is asked for."""

from cells.objects import base, fields


@base.register
class RequestSpec(base.CellsObject):
    """A request to the scheduler. No message carries it: clients take and drop it."""

    fields = {
        'availability_zone': fields.StringField(nullable=True),
        'flavor': fields.ObjectField('Flavor'),
        'force_hosts': fields.ListOfStringsField(nullable=True),
        'force_nodes': fields.ListOfStringsField(nullable=True),
        'id': fields.IntegerField(),
        'ignore_hosts': fields.ListOfStringsField(nullable=True),
        'image': fields.ObjectField('ImageMeta', nullable=True),
        'instance_group': fields.ObjectField('InstanceGroup', nullable=True),
        'instance_uuid': fields.UUIDField(),
        'limits': fields.ObjectField('SchedulerLimits', nullable=True),
        'num_instances': fields.IntegerField(default=1),
        'numa_topology': fields.ObjectField('InstanceNUMATopology', nullable=True),
        'pci_requests': fields.ObjectField('InstancePCIRequests', nullable=True),
        'project_id': fields.StringField(nullable=True),
        'retry': fields.ObjectField('SchedulerRetries', nullable=True),
        'scheduler_hints': fields.DictOfListOfStringsField(nullable=True),
        'is_bfv': fields.since('1.11', fields.BooleanField()),
        'network_metadata': fields.since('1.10', fields.ObjectField('NetworkMetadata')),
        'requested_destination': fields.since(
            '1.6', fields.ObjectField('Destination', nullable=True)
        ),
        'security_groups': fields.since('1.8', fields.ObjectField('SecurityGroupList')),
        'user_id': fields.since('1.9', fields.StringField(nullable=True)),
    }
