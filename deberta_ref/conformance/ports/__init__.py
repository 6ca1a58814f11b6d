"""An implementation as the kit sees it: a callable, a command, or files."""
