#!/usr/bin/env bash
# Installs darkstream into .venv and runs it on a short video of pedestrians. PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh

check_python
make_venv
install cpu -e ".[cpu]"
check_opencv

out=demo_output
"$VENV_PYTHON" apps/video.py assets/demo.mp4 --out "$out" --overwrite --contact-sheet "$out/contact_sheet.png"
cat <<TEXT

Annotated video:  $PWD/$out/demo.mp4
Skeletons:        $PWD/$out/demo.jsonl (JSON, one line a frame)
Contact sheet:    $PWD/$out/contact_sheet.png
TEXT
