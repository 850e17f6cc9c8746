"""A command line to cells. The only folder, with the plugin, that knows Hydra and OmegaConf."""

from s1sweep.compose.command import (
    SEQUENTIAL,
    CellReturn,
    answers,
    cells_of,
    conf_folders,
    expand,
    launch,
    launch_config,
    multirun,
    override_text,
)

__all__ = [
    "SEQUENTIAL", "CellReturn", "answers", "cells_of", "conf_folders", "expand", "launch", "launch_config", "multirun",
    "override_text",
]  # fmt: skip
