"""Checkpoints as PyTorch writes them, read without PyTorch."""
