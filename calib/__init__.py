"""int8 networks: calibration crops through the production crop, and quantisation."""
