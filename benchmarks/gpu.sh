#!/usr/bin/env bash
# The larger trainings and every CUDA path once, on one GPU in less than ten minutes; figures go to
# docs/benchmarks.md, pictures to runs/gpu. Options are those of python -m benchmarks.gpu.
#     benchmarks/gpu.sh --data fashion-mnist
#     benchmarks/gpu.sh --toy                 # all of it at toy size, on a CPU
# It takes the environment of $PYTHON, or of python, which needs torch.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
if ! "$PYTHON" -c 'import torch' 2>/dev/null; then
    echo "$PYTHON has no torch; activate an environment that has it, or set PYTHON" >&2
    exit 2
fi
if ! "$PYTHON" -c 'import diffode.runs.run, scipy, torchdiffeq' 2>/dev/null; then
    "$PYTHON" -m pip install -q -e .
fi
exec "$PYTHON" -m benchmarks.gpu "$@"
