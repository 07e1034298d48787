"""A weigher: cells where power costs less come first.

A cell says what a kilowatt-hour costs, in cents; of the cells below one the cheapest counts::

    [cells]
    capabilities = power_price=28

The cells above weigh with it, beside memory::

    [cells]
    scheduler_weight_classes = nova.cells.weights.all_weighers,
        power_price_weigher.PowerPriceWeigher

A cent counts a point, as a point of ``weight_offset`` does. Memory is worth 10 points between
the fullest and the emptiest cell, see ``ram_weight_multiplier``.
"""

from collections.abc import Iterable, Iterator

from cells import candidates
from cells.weights import base

CAPABILITY = 'power_price'
#: What a cell is taken to pay that does not say it.
USUAL = 30.0


class PowerPriceWeigher(base.CellWeigher):
    """Gives the price, negative."""

    normalised = False

    def weight(
        self, request: candidates.Request, cell: candidates.Cell, load: candidates.Load
    ) -> float:
        """Return the least price that the cell names, as a negative number."""
        return -min(_prices(cell.capabilities.get(CAPABILITY, ())), default=USUAL)


def _prices(values: Iterable[str]) -> Iterator[float]:
    """Yield those that are prices; other cells may report anything."""
    for value in values:
        try:
            price = float(value)
        except (TypeError, ValueError):
            continue
        if 0 <= price < 1000:
            yield price
