"""How messages get from cell to cell: ``base`` is the contract, the rest are plugins."""
