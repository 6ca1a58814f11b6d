"""Files that are written whole or not at all, and what is no file."""

import os
import threading

import pytest

from deberta_ref.files import replace


def test_what_was_there_is_replaced(tmp_path):
    (tmp_path / "report").write_bytes(b"old")
    replace(tmp_path / "report", b"new")
    assert (tmp_path / "report").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_or_a_device_is_written_to_and_stays(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    replace(pipe, b"report")
    reader.join(10)
    assert found == [b"report"]
    assert pipe.is_fifo()
