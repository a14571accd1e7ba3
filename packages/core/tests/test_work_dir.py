"""The temporary folder of a run: what others do to it does not harm the run."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow._files.work_dir import WorkDir


async def test_a_temporary_folder_goes_with_the_run() -> None:
    folder = WorkDir("run.one", None)
    path = folder()
    (path / "deep").mkdir()
    (path / "deep" / "file").touch()
    await folder.remove()
    assert not path.exists()


async def test_a_folder_that_was_cleaned_away_leaves_nothing_to_remove(
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = WorkDir("run.one", None)
    shutil.rmtree(folder())
    await folder.remove()
    assert not caplog.records


async def test_after_a_cleaner_the_run_gets_a_folder_of_its_own_again(tmp_path: Path) -> None:
    folder = WorkDir("run.one", None)
    first = folder()
    assert folder() == first
    first.rename(tmp_path / "kept")  # so that its inode is not used again
    first.mkdir()  # by somebody else
    second = folder()
    assert second != first
    assert stat.S_IMODE(second.stat().st_mode) == 0o700
    await folder.remove()
    assert not second.exists()
    assert first.exists()
    first.rmdir()


async def test_folders_that_cannot_be_written_are_removed_with_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = shutil.rmtree

    def as_for_a_user(folder: Path) -> None:
        # Root may remove everything, so this asks what the kernel asks of others.
        for above, _, _ in os.walk(folder):
            if not os.stat(above).st_mode & stat.S_IWUSR:  # noqa: PTH116
                raise PermissionError(13, "Permission denied", above)
        usual(folder)

    monkeypatch.setattr(shutil, "rmtree", as_for_a_user)
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o555)
    folder = WorkDir("run.one", None)
    path = folder()
    (path / "deep" / "deeper").mkdir(parents=True)
    (path / "link").symlink_to(outside)
    (path / "deep" / "deeper").chmod(0o555)
    (path / "deep").chmod(0o555)
    await folder.remove()
    assert not path.exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o555


async def test_a_folder_that_cannot_be_removed_is_told_and_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(folder: Any) -> None:
        raise OSError(16, "Device or resource busy", str(folder))

    folder = WorkDir("run.one", None)
    path = folder()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        await folder.remove()
    assert f"{path} cannot be removed: [Errno 16] Device or resource busy" in caplog.text
    shutil.rmtree(path)
