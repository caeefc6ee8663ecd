#!/usr/bin/env bash
# The container's health: 0 if process 1 wrote something since the last call, as it does with every frame's JSON line.
# PROC and STATE name other places of /proc/1/io and of what the last call saw.
set -euo pipefail

proc=${PROC:-/proc/1/io} state=${STATE:-/tmp/darkstream_health}
written=$(sed -n 's/^wchar: //p' "$proc")
before=$(cat "$state" 2>/dev/null || true)
echo "$written" >"$state"
if [ "$written" = "$before" ]; then
    echo "no frame since the last check" >&2
    exit 1
fi
