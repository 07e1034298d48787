"""Measurements, as ratios within one run on one machine. Start with ``python -m benchmarks``."""
