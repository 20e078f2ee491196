"""Data: the weights and card of the embedded default."""
