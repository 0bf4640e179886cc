"""The torch network: model, weights, inference and training."""
