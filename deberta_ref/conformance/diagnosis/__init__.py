"""Which mistake a failing port has made."""
