"""What this machine has. Knows no framework: asking torch would take seconds."""

from __future__ import annotations

import shutil
import subprocess


def gpu_count() -> int:
    """NVIDIA GPUs of this machine; 0 where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
