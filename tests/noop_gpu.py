"""The stage that does nothing, on as many GPUs as its placement gives a training."""

from __future__ import annotations

from s1sweep.spec import Placement
from s1sweep.stages import resources as stage_resources
from s1sweep.stages.resources import Request
from tests.noop_stage import run

__all__ = ["KIND", "run"]

KIND = "tests.noop_gpu"


def _request(here: Placement) -> Request:
    workers = here.train_workers
    gpus = here.gpus_per_train_worker * workers
    return Request(0.1 * workers, gpus, bundles=workers, gpu_kind=here.gpu_kind)


stage_resources.REQUESTS[KIND] = _request
