"""Training: text to masked rows, and the `train` stage with TRL."""
