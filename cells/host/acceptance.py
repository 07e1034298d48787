"""Takes the orders of the cell: what is accepted is in the store before it is answered."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cells import arguments, exceptions
from cells.host import methods, orders
from cells.host.virt import base
from cells.objects import plain

#: Characters that a cell takes back.
LONGEST_OP_ID: Final = 64
LONGEST_UUID: Final = 36
#: Operations that need room on the host.
CREATING: Final = tuple(name for name, method in methods.METHODS.items() if method.creates)


class Acceptance:
    """Accepts orders.

    :param on_order: called with an order that was accepted, in the order of acceptance.
    :param on_repeat: called with an order that had ended before it was given again.
    """

    def __init__(
        self,
        *,
        host: str,
        driver: base.VirtDriver,
        book: orders.Orders,
        on_order: Callable[[orders.Order], None],
        on_repeat: Callable[[orders.Order], None],
    ) -> None:
        self._host = host
        self._driver = driver
        self._operations = driver.operations().keys()
        self._book = book
        self._on_order = on_order
        self._on_repeat = on_repeat
        # Two must not be admitted to the same room, nor overtake each other.
        self._lock = threading.Lock()

    def accept(
        self,
        op_id: object,
        method: object,
        instance: object,
        args: object,
        deadline: object,
        request_id: str | None,
    ) -> None:
        """Accept an order, once.

        :param instance: what the cell says of it; ``uuid`` must be there, and its sizes if it is
            to be created.
        :param args: see ``methods.METHODS``.
        :param deadline: seconds since the epoch after which it must not be begun.
        :raises ComputeResourcesUnavailable: the instance has no room here.
        :raises Invalid: there is no such operation, or a value cannot be one.
        """
        name = arguments.text('op_id', op_id, longest=LONGEST_OP_ID)
        known = self._book.find(name)
        if known is not None:
            self._repeat(known)
            return
        order = _order(name, method, instance, args, deadline, request_id)
        needs = (
            methods.demand(order.method, order.instance, order.args)
            if order.method in CREATING
            else None
        )
        with self._lock:
            if needs is not None:
                self._driver.admit(needs, self._coming(needs.uuid))
            if order.method not in self._operations:
                raise exceptions.Invalid(
                    reason='the driver of host %s cannot %s' % (self._host, order.method)
                )
            if self._book.add(order):
                self._on_order(order)

    def _repeat(self, order: orders.Order) -> None:
        # Who gives an order again has not had its result.
        if self._book.report_again(order.op_id):
            self._on_repeat(order)

    def _coming(self, uuid: str) -> list[base.Demand]:
        return [
            methods.demand(one.method, one.instance, one.args)
            for one in self._book.coming(CREATING)
            if one.instance_uuid != uuid
        ]


def _order(
    op_id: str,
    method: object,
    instance: object,
    args: object,
    deadline: object,
    request_id: str | None,
) -> orders.Order:
    found = plain.flatten(methods.arguments_of(method, args))
    known = plain.flatten(arguments.mapping('instance', instance))
    return orders.Order(
        op_id=op_id,
        instance_uuid=arguments.text('instance.uuid', known.get('uuid'), longest=LONGEST_UUID),
        method=str(method),
        instance=_storable('instance', known),
        args=_storable('args', found),
        deadline=_moment(deadline),
        request_id=request_id,
    )


def _storable(name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        orders.written(value)
    except (TypeError, ValueError) as error:
        raise exceptions.Invalid(reason='%s cannot be stored: %s' % (name, error)) from None
    return value


def _moment(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (math.isfinite(value) and value >= 0)
    ):
        raise exceptions.Invalid(
            reason='deadline is %.60s, not seconds since 1970, of which there are %d now'
            % (ascii(value), time.time())
        )
    return float(value)
