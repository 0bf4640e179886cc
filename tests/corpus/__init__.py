"""Datasets with one thing wrong each, and what must become of them."""
