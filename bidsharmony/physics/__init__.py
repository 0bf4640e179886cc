"""The simulator: tissue, signal, scanner, heads and the phantom dataset."""
