"""The folder of a run: made when it is needed, and kept with what is in it."""

from __future__ import annotations

import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from radical.asyncflow._files.work_dir import WorkDir, is_in_use


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A current folder, which the program leaves after it has begun."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def begun(here: Path, given: Path | None = None) -> WorkDir:
    with chdir(here):
        return WorkDir("run.one", given)


def test_it_is_made_on_first_use_where_the_program_was_started(here: Path) -> None:
    folder = begun(here)
    assert list(here.iterdir()) == []
    path = folder()
    assert path == folder() == here / "asyncflow-runs" / "run.one"
    assert is_in_use(path)
    (path / "file").touch()
    folder.close()
    assert [one.name for one in path.iterdir()] == ["file"]
    assert not is_in_use(path)


def test_it_goes_if_it_is_empty_at_the_end(here: Path) -> None:
    folder = begun(here)
    folder()
    folder.close()
    assert list(here.iterdir()) == []
    begun(here).close()  # it was never used


def test_runs_of_one_name_have_folders_of_their_own(here: Path) -> None:
    first, second = begun(here), begun(here)
    assert [first().name, second().name] == ["run.one", "run.one.2"]
    first.close()
    assert second().is_dir()
    second.close()


def test_after_a_cleaner_the_run_gets_a_folder_again(here: Path) -> None:
    folder = begun(here)
    shutil.rmtree(folder().parent)
    assert folder().is_dir()
    shutil.rmtree(folder().parent)
    folder.close()
    assert list(here.iterdir()) == []


def test_a_folder_that_was_given_is_kept_as_it_is(here: Path, tmp_path: Path) -> None:
    folder = begun(here, tmp_path / "given")
    assert folder() == tmp_path / "given"
    folder.close()
    assert list((tmp_path / "given").iterdir()) == []


@pytest.mark.parametrize("why", ["deleted", "taken"])
def test_a_temporary_folder_stands_in_with_a_warning(
    here: Path, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    if why == "deleted":
        with chdir(here):
            here.rmdir()
            folder = WorkDir("run.one", None)
    else:
        (here / "asyncflow-runs").touch()
        folder = begun(here)
    path = folder()
    assert f"the files of the run are in {path}, because: " in caplog.text
    folder.close()
    assert not path.exists()
