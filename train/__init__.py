"""Networks, data, training, evaluation and export, in PyTorch."""
