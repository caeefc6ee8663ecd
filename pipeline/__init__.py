"""Frames in, poses out: sources, crops, detector, pose network, tracker and sinks."""
