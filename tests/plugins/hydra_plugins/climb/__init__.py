"""A Hydra sweeper that chooses points from results: doubles the thinking cap while the objective rises."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

KEY = "method.max_thinking_tokens"


@dataclass
class ClimbConf:
    _target_: str = "hydra_plugins.climb.Climb"


class Climb(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        cap, best = 4, -1.0
        for i in range(6):
            (job,) = self.launcher.launch([[*arguments, f"{KEY}={cap}"]], initial_job_idx=i)
            print(f"climb cap={cap} objective={job.return_value}")
            if job.return_value <= best:
                return
            cap, best = cap * 2, job.return_value


ConfigStore.instance().store(group="hydra/sweeper", name="climb", node=ClimbConf)
