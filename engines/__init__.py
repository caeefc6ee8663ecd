"""Tensors in, tensors out: one contract for every runtime. Knows no people."""
