"""Ray, without lines of its own on the terminal."""

from __future__ import annotations

import os

# Ray reads these when it is imported: no statistics sent, no warning about GPUs, nothing printed of what nodes say.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")

import ray as ray
from ray.exceptions import RayError as RayError
from ray.exceptions import RaySystemError as RaySystemError
