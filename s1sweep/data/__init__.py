"""Pools, subset rules, and the `select` stage. Pure Python; knows no model and no tokenizer."""
