"""The command lines: arguments, then one call into the pipeline."""
