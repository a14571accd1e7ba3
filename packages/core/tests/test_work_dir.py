"""The folder of a run: made when it is needed, and kept with what is in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path

import pytest
from radical.asyncflow._files.work_dir import WorkDir, is_in_use
from radical.asyncflow.journal._process import Process


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


@pytest.mark.parametrize(
    ("changed", "in_use"),
    [
        ({}, True),
        ({"born": "1"}, False),  # another process has the number by now
        ({"host": "elsewhere", "boot": "another", "machine": "another"}, True),
        ({"pid": 0}, False),
    ],
)
def test_a_folder_is_in_use_while_its_own_process_runs(
    tmp_path: Path, changed: dict[str, object], in_use: bool
) -> None:
    user = {**Process.own()._asdict(), **changed}
    (tmp_path / ".in-use").write_text(json.dumps(user))
    assert is_in_use(tmp_path) is in_use


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"pid": "x"}'])
def test_a_mark_that_says_nothing_keeps_no_folder(tmp_path: Path, content: str) -> None:
    (tmp_path / ".in-use").write_text(content)
    assert not is_in_use(tmp_path)


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


def test_two_runs_that_were_given_one_folder_do_not_share_it(here: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    first, second, third = (begun(here, given) for _ in range(3))
    assert first() == given
    assert second() == second() == given / "run.one"
    assert third() == given / "run.one.2"
    (third() / "file").touch()
    second.close()
    assert first() == given
    first.close()
    third.close()
    assert [one.name for one in given.iterdir()] == ["run.one.2"]
    assert [one.name for one in (given / "run.one.2").iterdir()] == ["file"]
    after = begun(here, given)
    assert after() == given
    after.close()


@pytest.mark.parametrize("ended", [True, False])
def test_a_folder_is_taken_over_only_from_a_run_that_has_ended(
    here: Path, tmp_path: Path, ended: bool
) -> None:
    given = tmp_path / "given"
    code = (
        "import sys; from radical.asyncflow._files.work_dir import WorkDir; "
        "WorkDir('run.other', sys.argv[1])(); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        if ended:
            other.kill()
            other.wait()
        folder = begun(here, given)
        assert folder() == (given if ended else given / "run.one")
        folder.close()
        other.kill()


REMOVE = """
import os, sys
from pathlib import Path
from radical.asyncflow._files.copying import remove
top = Path(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
folder = top / "left" / "below"
folder.mkdir(parents=True)
(folder / "file").touch()
(top / "left" / "link").symlink_to(top)
folder.chmod(0o500)
(top / "left").chmod(0)
remove(top / "left")
print(os.listdir(top))
"""


def test_folders_that_a_task_made_read_only_can_be_removed() -> None:
    with tempfile.TemporaryDirectory() as top:  # a user without the rights of root can go there
        os.chmod(top, 0o777)  # noqa: PTH101
        done = subprocess.run(
            [sys.executable, "-c", REMOVE, top],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout == "[]\n", done.stderr


def test_threads_that_ask_at_once_get_one_folder(tmp_path: Path) -> None:
    for number in range(20):
        here = tmp_path / str(number)
        here.mkdir()
        folder = begun(here)
        start = threading.Barrier(8)

        def ask(folder: WorkDir = folder, start: threading.Barrier = start) -> Path:
            start.wait()
            return folder()

        with ThreadPoolExecutor(8) as pool:
            given = {asked.result() for asked in [pool.submit(ask) for _ in range(8)]}
        assert len(given) == 1
        folder.close()
        assert [*here.iterdir()] == []
