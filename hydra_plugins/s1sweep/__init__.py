"""The sweepers and the launcher that Hydra finds when s1sweep is installed: see `plugins.py`."""
