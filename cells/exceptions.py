"""Every error this project raises, in one tree.

:class:`CellsError` is the root. :class:`WireError` and what is below it may
cross a message bus: those carry the names and keyword arguments that nova's
clients know and claim to live in ``nova.exception``, so that a nova client
rebuilds its own class from them (``spec/intercell.json``, ``exceptions``).
"""

from typing import Any, ClassVar


class CellsError(Exception):
    """The root of all errors of this project.

    :param message: the whole text; by default ``msg_fmt`` filled with ``kwargs``.
    :param kwargs: what the text is made of; kept as ``self.kwargs``.
    """

    msg_fmt: ClassVar[str] = 'An unknown error occurred.'
    code: ClassVar[int] = 500

    def __init__(self, message: str | None = None, /, **kwargs: Any) -> None:
        self.kwargs = dict(kwargs)
        self.kwargs.setdefault('code', self.code)
        super().__init__(self.msg_fmt % kwargs if message is None else message)


class ConfigurationError(CellsError):
    """Raised when a setting, or what it points at, makes a start impossible."""

    msg_fmt = '%(reason)s'


class SchemaError(ConfigurationError):
    """Raised when the database has another schema than this code needs."""

    msg_fmt = (
        'The database schema is at revision %(found)s and this version needs %(wanted)s. '
        'Run "nova-cells-manage db sync" with the same configuration.'
    )


class InvalidMessage(CellsError):
    """Raised when text from a queue is not a message of the cell-to-cell protocol."""

    msg_fmt = 'Not a cells message: %(reason)s'
    code = 400


class NotSent(CellsError):
    """Raised when a message did not reach the broker of a neighbour."""

    msg_fmt = 'Nothing was sent to cell %(cell_name)s: %(reason)s'
    code = 503


class Unroutable(NotSent):
    """Raised when one worker of a neighbour is not there; its others may be."""


class JournalUnavailable(CellsError):
    """Raised when a change could not be journaled; the broker keeps the message."""

    msg_fmt = 'The journal cannot be written: %(reason)s'
    code = 503


class OrderDropped(CellsError):
    """Raised in the place of an order that an operator has taken out of the journal."""

    msg_fmt = 'An operator has dropped it'
    code = 503


class NoAnswer(CellsError):
    """Raised in an agent when its cell does not take what it tells."""

    msg_fmt = '%(kind)s: %(reason)s'
    code = 503


class DriverError(CellsError):
    """Raised when a driver of virtual machines could not do what it was told."""

    msg_fmt = '%(reason)s'


class AgentStopped(CellsError):
    """Raised in a thread of an agent that is still at work when the agent ends."""

    msg_fmt = 'The agent ends'
    code = 503


class WireError(CellsError):
    """The root of what crosses a message bus under nova's name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__module__ = 'nova.exception'


class Invalid(WireError):
    """Raised when a caller gave a value that is not allowed."""

    msg_fmt = 'Bad Request - Invalid Parameters: %(reason)s'
    code = 400

    def __init__(self, message: str | None = None, /, **kwargs: Any) -> None:
        if '%(reason)s' in self.msg_fmt:
            kwargs.setdefault('reason', 'no reason given')
        super().__init__(message, **kwargs)


class NotFound(WireError):
    """The family of what does not exist."""

    msg_fmt = 'Resource could not be found.'
    code = 404


class CellNotFound(NotFound):
    """Raised when no neighbour has the name."""

    msg_fmt = "Cell %(cell_name)s doesn't exist."


class CellExists(WireError):
    """Raised when a neighbour of the name exists already."""

    msg_fmt = 'Cell with name %(name)s already exists.'


class CellsUpdateUnsupported(WireError):
    """Raised when neighbours are written in a file and are to be changed over RPC."""

    msg_fmt = 'Cannot update cells configuration file.'


class CellRoutingInconsistency(WireError):
    """Raised when a message cannot get from where it is to where it should go."""

    msg_fmt = 'Inconsistency in cell routing: %(reason)s'


class CellMaxHopCountReached(WireError):
    """Raised when a message has passed as many cells as its source allowed."""

    msg_fmt = 'Cell message has reached maximum hop count: %(hop_count)s'


class CellServiceAPIMethodNotFound(NotFound):
    """Raised when a message names an operation that this cell does not have."""

    msg_fmt = 'Service API method not found: %(detail)s'


class DatabaseUnavailable(WireError):
    """Raised when the database of a cell does not answer."""

    msg_fmt = 'The database of cell %(cell_name)s does not answer'
    code = 503


class CellTimeout(NotFound):
    """Raised when a cell did not answer in time (T8: it names who, what and how long)."""

    msg_fmt = 'Timeout waiting for response from cell %(cell_name)s'

    def __init__(self, message: str | None = None, /, **kwargs: Any) -> None:
        kwargs.setdefault('cell_name', '(unknown)')
        super().__init__(message, **kwargs)


class NotPermitted(WireError):
    """The family of what the caller may not do."""

    msg_fmt = 'Not allowed.'
    code = 403


class PolicyNotAuthorized(NotPermitted):
    """Raised when the rules do not let the caller do it."""

    msg_fmt = "Policy doesn't allow %(action)s to be performed."


class InstanceNotFound(NotFound):
    """Raised when a cell has no such instance."""

    msg_fmt = 'Instance %(instance_id)s could not be found.'


class InstanceExists(WireError):
    """Raised when there is an instance of this uuid already, possibly a deleted one."""

    msg_fmt = 'Instance %(name)s already exists.'
    code = 409


class InstanceUnknownCell(NotFound):
    """Raised when it is not known in which cell an instance is."""

    msg_fmt = 'Cell is not known for instance %(instance_uuid)s'


class InstanceInvalidState(Invalid):
    """Raised when an instance is in a state in which something cannot be done with it."""

    msg_fmt = (
        'Instance %(instance_uuid)s in %(attr)s %(state)s. Cannot %(method)s while the instance '
        'is in this state.'
    )


class InstanceIsLocked(InstanceInvalidState):
    """Raised when an instance is locked and the caller is no administrator."""

    msg_fmt = 'Instance %(instance_uuid)s is locked'


class InstanceNotReady(Invalid):
    """Raised when an instance is on no host."""

    msg_fmt = 'Instance %(instance_id)s is not ready'


class InstanceUpdateConflict(WireError):
    """Raised when an instance is no longer as the one who changes it expects it to be."""

    msg_fmt = (
        'Conflict updating instance %(instance_uuid)s. Expected: %(expected)s. Actual: %(actual)s'
    )


class UnexpectedTaskStateError(InstanceUpdateConflict):
    """Raised when another task has an instance."""


class UnexpectedDeletingTaskStateError(UnexpectedTaskStateError):
    """Raised when an instance is being deleted."""


class ImageNotFound(NotFound):
    """Raised when there is no such image."""

    msg_fmt = 'Image %(image_id)s could not be found.'


class InvalidDevicePath(Invalid):
    """Raised when a text does not name a disk."""

    msg_fmt = 'The supplied device path (%(path)s) is invalid.'


class DevicePathInUse(Invalid):
    """Raised when an instance has another disk under the name."""

    msg_fmt = 'The supplied device path (%(path)s) is in use.'
    code = 409


class ConsoleTypeInvalid(Invalid):
    """Raised when there is no such type of console."""

    msg_fmt = 'Invalid console type %(console_type)s'


class KeypairNotFound(NotFound):
    """Raised when a user has no such key pair."""

    msg_fmt = 'Keypair %(name)s not found for user %(user_id)s'


class KeyPairExists(WireError):
    """Raised when a user has a key pair of this name already."""

    msg_fmt = "Key pair '%(key_name)s' already exists."
    code = 409


class HostNotFound(NotFound):
    """Raised when a cell has no such host."""

    msg_fmt = 'Host %(host)s could not be found.'


class ComputeHostNotFound(HostNotFound):
    """Raised when a cell has no such compute host, or no such compute node."""

    msg_fmt = 'Compute host %(host)s could not be found.'


class ServiceNotFound(NotFound):
    """Raised when a cell has no service of this id."""

    msg_fmt = 'Service %(service_id)s could not be found.'


class HostBinaryNotFound(NotFound):
    """Raised when a host has no such service."""

    msg_fmt = 'Could not find binary %(binary)s on host %(host)s.'


class ComputeServiceUnavailable(WireError):
    """Raised when the agent of a host is down, or does not answer."""

    msg_fmt = 'Compute service of %(host)s is unavailable at this time.'
    code = 400


class ComputeResourcesUnavailable(Invalid):
    """Raised when a host has no room for an instance, or does not take it for another reason."""

    msg_fmt = 'Insufficient compute resources: %(reason)s.'


class HostNameInUse(WireError):
    """Raised when a host reports under a name that another machine has, which is alive."""

    msg_fmt = 'Host %(host)s is another machine, which reported %(seconds)s seconds ago'
    code = 409


class FlavorNotFound(NotFound):
    """Raised when there is no such flavor."""

    msg_fmt = 'Flavor %(flavor_id)s could not be found.'


class FlavorExists(WireError):
    """Raised when there is a flavor of this name."""

    msg_fmt = 'Flavor with name %(name)s already exists.'
    code = 409


class FlavorIdExists(WireError):
    """Raised when there is a flavor of this id."""

    msg_fmt = 'Flavor with ID %(flavor_id)s already exists.'
    code = 409


class InvalidRequest(Invalid):
    """Raised when what is asked for does not make sense for what it is about."""

    msg_fmt = 'The request is invalid.'


class InstanceNotRescuable(Invalid):
    """Raised when an instance cannot be started from another disk."""

    msg_fmt = 'Instance %(instance_id)s cannot be rescued: %(reason)s'


class InvalidVolume(Invalid):
    """Raised when a volume cannot be used as is asked for."""

    msg_fmt = 'Invalid volume: %(reason)s'


class VolumeUnattached(Invalid):
    """Raised when a volume is not attached to anything."""

    msg_fmt = 'Volume %(volume_id)s is not attached to anything'


class VolumeBDMNotFound(NotFound):
    """Raised when an instance does not have a volume."""

    msg_fmt = 'No volume Block Device Mapping with id %(volume_id)s.'


class CannotResizeDisk(WireError):
    """Raised when a disk cannot have the size that is asked for."""

    msg_fmt = 'Server disk was unable to be resized because: %(reason)s'


class MigrationNotFoundByStatus(NotFound):
    """Raised when an instance has no migration in the state that is needed."""

    msg_fmt = 'Migration not found for instance %(instance_id)s with status %(status)s.'


class ComputeServiceInUse(WireError):
    """Raised when a host must be down and is up."""

    msg_fmt = 'Compute service of %(host)s is still in use.'


class UnableToMigrateToSelf(Invalid):
    """Raised when an instance is to go to the host that it is on."""

    msg_fmt = 'Unable to migrate instance (%(instance_id)s) to current host (%(host)s).'


class NoValidHost(WireError):
    """Raised when no host of a cell can take an instance."""

    msg_fmt = 'No valid host was found. %(reason)s'
