#!/usr/bin/env bash
# The container's program: builds the engines if they are not there, then runs apps/webcam.py with them.
# Arguments go to the app. DARKSTREAM_ENGINES names the folder of the engines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

engines=${DARKSTREAM_ENGINES:-networks/jetson}
# What is said goes to stderr: stdout may carry JSON lines.
bash scripts/jetson_first_run.sh "$engines" >&2
# In place of the shell, so that it is process 1: it gets the signals, and jetson_health.sh looks at it.
exec .venv/bin/python apps/webcam.py --detector "$engines/person_detector.engine" \
    --pose "$engines/edge_coco_256x192.engine" --headless "$@"
