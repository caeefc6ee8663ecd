"""Many inputs, each once: what is left to do, the record of what is done, and processes or a cluster to do it."""
