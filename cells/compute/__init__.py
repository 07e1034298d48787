"""What a cell does with its instances."""
