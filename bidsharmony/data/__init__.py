"""Weights, model card, path patterns and report templates."""
