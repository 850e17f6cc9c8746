"""Hydra's way in: the sweeper and the launcher it finds here. What they do is in `s1sweep.compose`.

Hydra imports this file at every start, so it imports nothing of s1sweep before it is used; and it does so before the
module is in sys.modules, so dataclasses here must not need `from __future__ import annotations`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class S1SweepLauncherConf:
    _target_: str = "hydra_plugins.s1sweep.plugins.S1SweepLauncher"


@dataclass
class S1SweeperConf:
    _target_: str = "hydra_plugins.s1sweep.plugins.S1Sweeper"


@dataclass
class SequentialConf:  # its fields are those of s1sweep.search.policy.Options, where they are explained
    _target_: str = "hydra_plugins.s1sweep.plugins.Sequential"
    token_budget: Optional[float] = None  # noqa: UP045, OmegaConf reads it
    half_width: Optional[float] = 2.0  # noqa: UP045
    alpha: float = 0.05
    first: int = 32
    growth: float = 1.5
    drop_beaten: bool = True
    seed: int = 0


class S1SweepLauncher(Launcher):
    """Plans all cells of a batch together and runs them in the process's one session."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from s1sweep.compose.composer import Composer

        self._composer = Composer(hydra_context.config_loader, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from s1sweep.compose import launch

        return launch(self._composer, job_overrides)


class S1Sweeper(Sweeper):
    """BasicSweeper's grid, times an experiment's sub-grids, in one batch that is composed once."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self._context, self._config = hydra_context, config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from s1sweep.compose import expand

        batch = expand(arguments, self._context.config_loader, self._config)
        return self._launcher.launch(batch, initial_job_idx=0)


class Sequential(S1Sweeper):
    """The same grid, asked in rounds until enough is known of each cell or the token budget is spent."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def sweep(self, arguments: list[str]) -> Any:
        from s1sweep.compose import answers, expand
        from s1sweep.compose.composer import Composer
        from s1sweep.search import Options, search

        options = Options(**self._options)
        loader = self._context.config_loader
        return search(expand(arguments, loader, self._config), Composer(loader, self._config).cell, answers, options)


ConfigStore.instance().store(group="hydra/launcher", name="s1sweep", node=S1SweepLauncherConf, provider="s1sweep")
ConfigStore.instance().store(group="hydra/sweeper", name="s1sweep", node=S1SweeperConf, provider="s1sweep")
ConfigStore.instance().store(group="hydra/sweeper", name="sequential", node=SequentialConf, provider="s1sweep")
