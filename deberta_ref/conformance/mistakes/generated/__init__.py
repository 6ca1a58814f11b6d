"""Mistakes that nobody listed: edits of a forward pass that is written as ports are."""
