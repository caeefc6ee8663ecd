#!/usr/bin/env bash
# Installs everything into .venv, then lint, types and tests. Arguments go to pytest. PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh

check_python
make_venv
# One fixed torch, first, so that the range in setup.cfg is already met and every run tests the same one.
install torch-2.13.0 torch==2.13.0
install all -e ".[cpu,rtx,train,calib,synthetic,serve,plot,dev]"
check_opencv

"$VENV_PYTHON" -m ruff check .
"$VENV_PYTHON" -m ruff format --check .
"$VENV_PYTHON" -m mypy
"$VENV_PYTHON" -m pytest -q "$@"
