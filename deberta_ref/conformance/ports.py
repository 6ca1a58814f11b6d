"""The ports, however they are handed over: Python, a command of any language, or files computed elsewhere."""

from __future__ import annotations

from deberta_ref.conformance.port import NotOffered, Port, PortError, reference
from deberta_ref.conformance.port_callable import callable_port
from deberta_ref.conformance.port_command import command_port
from deberta_ref.conformance.port_files import files_port

__all__ = ["NotOffered", "Port", "PortError", "callable_port", "command_port", "files_port", "reference"]
