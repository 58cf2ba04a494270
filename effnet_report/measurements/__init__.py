"""What the benchmarks measured: one module per file in `results/`, which `bench/` writes.

Parts that were not measured are None, or missing from their dictionary.
"""
