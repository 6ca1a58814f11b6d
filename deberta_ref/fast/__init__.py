"""What makes the operations fast: each function here equals a one-line definition in ops.py, held to it by a test."""
