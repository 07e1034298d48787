"""The states of instances, by name (``spec/compute_api.json``, ``common_rules``).

``vm_state`` is what an instance is, ``task_state`` what is being done with it, null when
nothing is, and ``power_state`` what its host saw of the machine.
"""

from typing import Final

# -- vm_state --

ACTIVE: Final = 'active'
BUILDING: Final = 'building'
DELETED: Final = 'deleted'
ERROR: Final = 'error'
PAUSED: Final = 'paused'
RESCUED: Final = 'rescued'
RESIZED: Final = 'resized'
SHELVED: Final = 'shelved'
SHELVED_OFFLOADED: Final = 'shelved_offloaded'
SOFT_DELETED: Final = 'soft-delete'
STOPPED: Final = 'stopped'
SUSPENDED: Final = 'suspended'

VM_STATES: Final = (
    ACTIVE,
    BUILDING,
    DELETED,
    ERROR,
    PAUSED,
    RESCUED,
    RESIZED,
    SHELVED,
    SHELVED_OFFLOADED,
    SOFT_DELETED,
    STOPPED,
    SUSPENDED,
)

# -- task_state --

BLOCK_DEVICE_MAPPING: Final = 'block_device_mapping'
DELETING: Final = 'deleting'
IMAGE_BACKUP: Final = 'image_backup'
IMAGE_PENDING_UPLOAD: Final = 'image_pending_upload'
IMAGE_SNAPSHOT: Final = 'image_snapshot'
IMAGE_SNAPSHOT_PENDING: Final = 'image_snapshot_pending'
IMAGE_UPLOADING: Final = 'image_uploading'
MIGRATING: Final = 'migrating'
NETWORKING: Final = 'networking'
PAUSING: Final = 'pausing'
POWERING_OFF: Final = 'powering-off'
POWERING_ON: Final = 'powering-on'
REBOOT_PENDING: Final = 'reboot_pending'
REBOOT_PENDING_HARD: Final = 'reboot_pending_hard'
REBOOT_STARTED: Final = 'reboot_started'
REBOOT_STARTED_HARD: Final = 'reboot_started_hard'
REBOOTING: Final = 'rebooting'
REBOOTING_HARD: Final = 'rebooting_hard'
REBUILD_BLOCK_DEVICE_MAPPING: Final = 'rebuild_block_device_mapping'
REBUILD_SPAWNING: Final = 'rebuild_spawning'
REBUILDING: Final = 'rebuilding'
RESCUING: Final = 'rescuing'
RESIZE_CONFIRMING: Final = 'resize_confirming'
RESIZE_FINISH: Final = 'resize_finish'
RESIZE_MIGRATED: Final = 'resize_migrated'
RESIZE_MIGRATING: Final = 'resize_migrating'
RESIZE_PREP: Final = 'resize_prep'
RESIZE_REVERTING: Final = 'resize_reverting'
RESTORING: Final = 'restoring'
RESUMING: Final = 'resuming'
SCHEDULING: Final = 'scheduling'
SHELVING: Final = 'shelving'
SHELVING_IMAGE_PENDING_UPLOAD: Final = 'shelving_image_pending_upload'
SHELVING_IMAGE_UPLOADING: Final = 'shelving_image_uploading'
SHELVING_OFFLOADING: Final = 'shelving_offloading'
SOFT_DELETING: Final = 'soft-deleting'
SPAWNING: Final = 'spawning'
SUSPENDING: Final = 'suspending'
UNPAUSING: Final = 'unpausing'
UNRESCUING: Final = 'unrescuing'
UNSHELVING: Final = 'unshelving'
UPDATING_PASSWORD: Final = 'updating_password'

TASK_STATES: Final = (
    BLOCK_DEVICE_MAPPING,
    DELETING,
    IMAGE_BACKUP,
    IMAGE_PENDING_UPLOAD,
    IMAGE_SNAPSHOT,
    IMAGE_SNAPSHOT_PENDING,
    IMAGE_UPLOADING,
    MIGRATING,
    NETWORKING,
    PAUSING,
    POWERING_OFF,
    POWERING_ON,
    REBOOT_PENDING,
    REBOOT_PENDING_HARD,
    REBOOT_STARTED,
    REBOOT_STARTED_HARD,
    REBOOTING,
    REBOOTING_HARD,
    REBUILD_BLOCK_DEVICE_MAPPING,
    REBUILD_SPAWNING,
    REBUILDING,
    RESCUING,
    RESIZE_CONFIRMING,
    RESIZE_FINISH,
    RESIZE_MIGRATED,
    RESIZE_MIGRATING,
    RESIZE_PREP,
    RESIZE_REVERTING,
    RESTORING,
    RESUMING,
    SCHEDULING,
    SHELVING,
    SHELVING_IMAGE_PENDING_UPLOAD,
    SHELVING_IMAGE_UPLOADING,
    SHELVING_OFFLOADING,
    SOFT_DELETING,
    SPAWNING,
    SUSPENDING,
    UNPAUSING,
    UNRESCUING,
    UNSHELVING,
    UPDATING_PASSWORD,
)

#: What an instance is in on its way out.
DELETIONS: Final = frozenset({DELETING, SOFT_DELETING})

#: No task: what an action expects that waits for no other.
IDLE: Final = frozenset({None})

# -- power_state --

NOSTATE: Final = 0
RUNNING: Final = 1
POWER_PAUSED: Final = 3
SHUTDOWN: Final = 4
CRASHED: Final = 6
POWER_SUSPENDED: Final = 7

#: A machine that does not run and will not by itself.
OFF: Final = frozenset({SHUTDOWN, CRASHED})
