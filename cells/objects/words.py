"""Fields that hold one of some words."""

from typing import Any

from oslo_versionedobjects import fields as library


class _WordField(library.EnumField):
    #: With blanks between them.
    WORDS = ''

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(tuple(self.WORDS.split()), **kwargs)


class ArchitectureField(_WordField):
    """A processor architecture."""

    WORDS = (
        'alpha armv6 armv7l armv7b aarch64 cris i686 ia64 lm32 m68k microblaze microblazeel '
        'mips mipsel mips64 mips64el openrisc parisc parisc64 ppc ppcle ppc64 ppc64le ppcemb '
        's390 s390x sh4 sh4eb sparc sparc64 unicore32 x86_64 xtensa xtensaeb'
    )


class HVTypeField(_WordField):
    """A kind of hypervisor."""

    WORDS = (
        'baremetal bhyve docker fake hyperv ironic kqemu kvm lxc lxd openvz parallels phyp '
        'qemu test uml vbox vz vmware xen zvm prsm'
    )


class VMModeField(_WordField):
    """How a guest is run."""

    WORDS = 'hvm xen uml exe'


class CPUAllocationPolicyField(_WordField):
    """Whether CPUs are shared."""

    WORDS = 'dedicated shared'


class CPUThreadAllocationPolicyField(_WordField):
    """How threads of a core are used."""

    WORDS = 'prefer isolate require'


class CPUEmulatorThreadsPolicyField(_WordField):
    """Where the emulator runs."""

    WORDS = 'share isolate'


class CPUMatchField(_WordField):
    """How closely the CPU must fit."""

    WORDS = 'minimum exact strict'


class CPUModeField(_WordField):
    """Which CPU the guest sees."""

    WORDS = 'custom host-model host-passthrough'


class CPUFeaturePolicyField(_WordField):
    """What is asked of a CPU feature."""

    WORDS = 'force require optional disable forbid'


class PCINUMAAffinityPolicyField(_WordField):
    """How near to its NUMA node a device must be."""

    WORDS = 'required legacy preferred'


class PciDeviceTypeField(_WordField):
    """The kind of a PCI device."""

    WORDS = 'type-PCI type-PF type-VF'


class PciDeviceStatusField(_WordField):
    """The state of a PCI device."""

    WORDS = 'available claimed allocated removed deleted unavailable unclaimable'


class BlockDeviceSourceTypeField(_WordField):
    """What a block device is made of."""

    WORDS = 'blank image snapshot volume'


class BlockDeviceDestinationTypeField(_WordField):
    """Where a block device is."""

    WORDS = 'local volume'


class BlockDeviceTypeField(_WordField):
    """What a block device is for the guest."""

    WORDS = 'cdrom disk floppy fs lun'
