"""NUMA nodes and CPUs of instances."""

from cells.objects import base, fields, words


@base.register
class InstanceNUMATopology(base.CellsObject):
    """The NUMA nodes of an instance."""

    fields = {
        'cells': fields.ListOfObjectsField('InstanceNUMACell'),
        'id': fields.IntegerField(),
        'instance_uuid': fields.UUIDField(),
        'emulator_threads_policy': fields.since(
            '1.3', words.CPUEmulatorThreadsPolicyField(nullable=True)
        ),
    }


@base.register
class InstanceNUMACell(base.CellsObject):
    """A NUMA node of an instance."""

    fields = {
        'cpu_pinning_raw': fields.since('1.2', fields.DictOfIntegersField(nullable=True)),
        'cpu_policy': fields.since('1.3', words.CPUAllocationPolicyField(nullable=True)),
        'cpu_thread_policy': fields.since(
            '1.3', words.CPUThreadAllocationPolicyField(nullable=True)
        ),
        'cpu_topology': fields.since('1.2', fields.ObjectField('VirtCPUTopology', nullable=True)),
        'cpuset': fields.SetOfIntegersField(),
        'id': fields.IntegerField(),
        'memory': fields.IntegerField(),
        'pagesize': fields.since('1.1', fields.IntegerField(nullable=True)),
        'cpuset_reserved': fields.since('1.4', fields.SetOfIntegersField(nullable=True)),
    }


@base.register
class VirtCPUTopology(base.CellsObject):
    """Sockets, cores and threads of a guest."""

    fields = {
        'cores': fields.IntegerField(nullable=True, default=1),
        'sockets': fields.IntegerField(nullable=True, default=1),
        'threads': fields.IntegerField(nullable=True, default=1),
    }


@base.register
class VirtCPUModel(base.CellsObject):
    """The CPU that a guest sees."""

    fields = {
        'arch': words.ArchitectureField(nullable=True),
        'features': fields.ListOfObjectsField('VirtCPUFeature', default=[]),
        'match': words.CPUMatchField(nullable=True),
        'mode': words.CPUModeField(nullable=True),
        'model': fields.StringField(nullable=True),
        'topology': fields.ObjectField('VirtCPUTopology', nullable=True),
        'vendor': fields.StringField(nullable=True),
    }


@base.register
class VirtCPUFeature(base.CellsObject):
    """A feature of a CPU."""

    fields = {
        'name': fields.StringField(),
        'policy': words.CPUFeaturePolicyField(nullable=True),
    }
