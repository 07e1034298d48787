"""What every service of nova answers, by which its operators see that one is there."""

from typing import Any

import oslo_messaging

from cells import context, rpc, versions


class BaseAPI:
    """The namespace ``baseapi`` (``spec/rpc_server.json``, ``also_served``).

    :param topic: of the service, by which it is called.
    """

    target = oslo_messaging.Target(namespace=versions.BASE_NAMESPACE, version=versions.BASE_VERSION)

    def __init__(self, topic: str) -> None:
        self._topic = topic

    @rpc.served
    def ping(self, ctxt: context.RequestContext, arg: Any) -> dict[str, Any]:
        """Return the argument, and who has it."""
        return {'service': self._topic, 'arg': arg}

    @rpc.served
    def get_backdoor_port(self, ctxt: context.RequestContext) -> None:
        """Return on which port a debugger can be reached: there is none."""
