"""Named pipes, sockets and devices where a journal would look for content."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from radical.asyncflow import FileError, OutputFile, WorkflowEngine
from radical.asyncflow._resume.files import digest
from radical.asyncflow._resume.identity import Unidentified


def test_what_has_no_content_is_named_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(Unidentified, match=r"pipe is a named pipe"):
        digest(str(folder))
    with pytest.raises(Unidentified, match=r"null is a device"):
        digest("/dev/null")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(Unidentified, match=r"socket is a socket"):
            digest("socket")


async def test_a_named_pipe_among_outputs_is_refused_and_holds_up_neither_the_run_nor_its_end(
    tmp_path: Path,
) -> None:
    async with WorkflowEngine.create(
        "concurrent", {"max_workers": 1}, journal=tmp_path / "journal", work_dir=tmp_path / "work"
    ) as flow:
        make = flow.executable_task(lambda path: f"mkdir {path} && mkfifo {path}/pipe")
        with pytest.raises(FileError, match="is a named pipe"):
            await make(OutputFile("out"))
        assert await flow.function_task(lambda: 2)() == 2
