"""Data sets in COCO layout, as plain torch data sets."""
