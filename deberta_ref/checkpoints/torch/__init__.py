"""Checkpoints as PyTorch writes them, read and written without PyTorch."""
