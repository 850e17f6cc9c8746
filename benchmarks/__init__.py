"""Measurements with a named baseline in the same run: `python -m benchmarks.NAME [--json]`. Results are in
RESULTS.md.
"""
