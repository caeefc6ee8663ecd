"""Synthetic training pictures: bodies with exactly known keypoints before photographed backgrounds."""
