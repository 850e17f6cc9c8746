"""s1sweep: distributed sweeps and ablations for simple test-time scaling."""

__version__ = "0.1.0.dev0"
