"""The ways to be wrong that are known."""
