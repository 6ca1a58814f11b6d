"""What every test file may ask for."""

import signal

import pytest


@pytest.fixture
def default_signals():
    """Signals as a terminal leaves them, here and in child processes, even where the shell has the tests ignore them.

    An ignored signal stays ignored in a child process; one with a handler has its default effect there. So SIGHUP gets
    a handler, not the default: a hangup does not end the tests that nohup keeps running.
    """
    handlers = {"SIGINT": signal.default_int_handler, "SIGHUP": lambda *_: None, "SIGTERM": lambda *_: None}
    known = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
    ignored = [number for number in known if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, known[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
