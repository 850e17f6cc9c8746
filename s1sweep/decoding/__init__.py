"""Decoding: the engine, traces shared by all who read them, control methods, and the `decode` stage."""
