"""How a client of the contract sends a method: in the newest form that the cap allows."""

from typing import Any

import oslo_messaging

from cells import remote_errors, versions
from cells.client import base, forms
from cells.objects import base as objects_base


class VersionCapError(oslo_messaging.RPCVersionCapError):
    """Raised for a method that the cap forbids; nothing was sent.

    :ivar method: what was to be sent.
    :ivar version: the lowest that it could be sent at.
    :ivar version_cap: what is allowed.
    """

    def __init__(self, method: str, version: str, version_cap: str, setting: str) -> None:
        super().__init__(version=version, version_cap=version_cap)
        self.method = method
        self.args = (
            '%s needs version %s of the cells RPC, and [upgrade_levels] cells = %s allows no '
            'more than %s; nothing was sent' % (method, version, setting, version_cap),
        )


class ContractClient(base.Client):
    """What sends the methods of :data:`cells.client.forms.FORMS`.

    :param version_cap: an RPC version or a release name, ``[upgrade_levels] cells``.
    :raises ValueError: it is neither.
    """

    def __init__(self, transport: Any, *, version_cap: str | None = None, **kwargs: Any) -> None:
        self._setting = version_cap
        self._cap = versions.rpc_cap(version_cap)
        self._release = versions.cap_release(version_cap)
        super().__init__(transport, **kwargs)

    def _ask(self, ctxt: Any, method: str, **arguments: Any) -> Any:
        """Call a method and return what it returns."""
        return self._ask_within(None, ctxt, method, **arguments)

    def _ask_within(self, seconds: float | None, ctxt: Any, method: str, **arguments: Any) -> Any:
        """Call a method that does no more than ``seconds`` of work, None for the usual limit."""
        version, made = self._made(method, arguments)
        try:
            return self._call_within(seconds, ctxt, version, method, **made)
        except remote_errors.NotServed as error:
            raise remote_errors.NotServed(
                '%s. [upgrade_levels] cells = %s; it is to name the release of the cell, or a '
                'version that it knows' % (error, self._setting or 'unset')
            ) from None

    def _order(self, ctxt: Any, method: str, **arguments: Any) -> None:
        """Send a method that nobody waits for. Returns when the broker has it."""
        version, made = self._made(method, arguments)
        self._cast(ctxt, version, method, **made)

    def _made(self, method: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        form = forms.form_of(method, self._cap)
        if form is None:
            needed = forms.FORMS[method][-1].version
            raise VersionCapError(method, needed, str(self._cap), str(self._setting))
        made = form.make(arguments)
        return form.version, objects_base.compatible(made, self._release)
