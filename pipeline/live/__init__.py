"""The live view: a run's pictures, poses and figures for browsers and other programs."""
