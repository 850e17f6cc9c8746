"""What a sweep found, read from its records: results, statistics, tables, plots and the page.

Knows nothing of Ray, W&B, or how a stage runs. Imports nothing here: `results` must load without numpy or matplotlib.
"""
