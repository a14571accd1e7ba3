"""Which ``asyncflow.toml`` is obeyed: those that nobody else could have written."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest
from radical.asyncflow._discovery import trust
from radical.asyncflow._discovery.profiles import Choice, files, resolve
from radical.asyncflow._discovery.trust import reason_for_distrust

MINE = [Choice("concurrent", {})]
THEIRS = [Choice("noop", {})]
NOBODY = 65534


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder and make it the current one; the user has no file of their own."""
    for variable in ("BACKEND", "PROFILE", "CONFIG", "SET"):
        monkeypatch.delenv(f"ASYNCFLOW_{variable}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    folder = tmp_path / "above" / "project"
    folder.mkdir(parents=True)
    for made in (tmp_path / "above", folder):
        made.chmod(0o755)
    with contextlib.chdir(folder):
        yield folder


def write(folder: Path, mode: int = 0o644) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "asyncflow.toml"
    path.write_text('backend = "noop"')
    path.chmod(mode)
    return path


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let *path* belong to another user than this process."""
    if os.geteuid() == 0:
        os.lchown(path, NOBODY, NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY - 1)


def test_a_file_of_ones_own_is_obeyed(project, caplog):
    path = write(project)
    assert reason_for_distrust(path) is None
    assert resolve() == THEIRS
    assert not caplog.records


def test_a_file_of_another_user_is_passed_over_with_a_warning(project, monkeypatch, caplog):
    path = write(project)
    give_away(path, monkeypatch)
    assert resolve() == MINE
    assert str(path) in caplog.text
    assert "belongs to another user" in caplog.text
    assert "asyncflow run --config FILE, or ASYNCFLOW_CONFIG=FILE" in caplog.text


def test_a_warning_of_one_file_is_given_once(project, caplog):
    write(project, 0o666)
    for _ in range(3):
        assert resolve() == MINE
    assert len(caplog.records) == 1


def test_behind_a_file_that_is_passed_over_the_next_one_above_counts(project):
    write(project, 0o646)
    assert files() == []
    above = write(project.parent)
    assert files() == [above]


@pytest.mark.parametrize("mode", [0o646, 0o666, 0o602])
def test_a_file_that_anyone_may_write_is_passed_over(project, mode, caplog):
    write(project, mode)
    assert resolve() == MINE
    assert "others may write it" in caplog.text


@pytest.mark.parametrize("depth", [0, 1])
def test_a_file_below_a_folder_that_anyone_may_write_into_is_passed_over(project, depth, caplog):
    write(project)
    folder = [project, project.parent][depth]
    folder.chmod(0o777)
    assert resolve() == MINE
    assert f"others may write into the folder {folder}," in caplog.text


def test_a_folder_below_a_shared_one_that_protects_its_entries_is_obeyed(project):
    write(project)
    project.parent.chmod(0o1777)
    assert resolve() == THEIRS


def test_a_file_in_a_shared_folder_of_somebody_else_is_passed_over(project, monkeypatch):
    path = write(project)
    project.chmod(0o1777)
    me = os.geteuid()
    assert reason_for_distrust(path) is None  # the folder is ours
    monkeypatch.setattr(trust, "ROOT", me)
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert "anyone may put a file into its folder" in str(reason_for_distrust(path))


def test_a_group_counts_as_others_unless_it_is_the_users_alone(project, monkeypatch):
    path = write(project, 0o664)
    user = pwd.getpwuid(os.geteuid())
    group = path.stat().st_gid

    def with_members(*members: str) -> None:
        known = trust.grp.struct_group((user.pw_name, "x", group, members))
        monkeypatch.setattr(trust.grp, "getgrgid", lambda _: known)

    owner = pwd.struct_passwd((user.pw_name, "x", user.pw_uid, group, "", "/", "/bin/sh"))
    monkeypatch.setattr(trust.pwd, "getpwuid", lambda _: owner)
    with_members()
    assert reason_for_distrust(path) is None
    with_members(user.pw_name)
    assert reason_for_distrust(path) is None
    with_members("colleague")
    assert reason_for_distrust(path) == "others may write it"


def test_a_group_that_nobody_knows_counts_as_others(project, monkeypatch):
    path = write(project, 0o664)

    def unknown(gid: int) -> None:
        raise KeyError(gid)

    monkeypatch.setattr(trust.grp, "getgrgid", unknown)
    assert reason_for_distrust(path) == "others may write it"


def test_every_folder_and_link_on_the_way_counts(project, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    target = write(elsewhere / "inner")
    for folder in (elsewhere, elsewhere / "inner"):
        folder.chmod(0o755)
    (tmp_path / "hop").symlink_to("elsewhere/inner")
    path = project / "asyncflow.toml"
    path.symlink_to(os.path.join("..", "..", "hop", "asyncflow.toml"))  # noqa: PTH118 - with ..
    assert reason_for_distrust(path) is None
    assert resolve() == THEIRS
    elsewhere.chmod(0o777)
    assert f"others may write into the folder {elsewhere}" == reason_for_distrust(path)
    elsewhere.chmod(0o755)
    target.chmod(0o666)
    assert reason_for_distrust(path) == f"others may write {target}"


def test_a_link_of_another_user_is_not_followed(project, tmp_path, monkeypatch):
    write(tmp_path / "elsewhere")
    path = project / "asyncflow.toml"
    path.symlink_to(tmp_path / "elsewhere" / "asyncflow.toml")
    give_away(path, monkeypatch)
    assert "belongs to another user" in str(reason_for_distrust(path))


def test_links_in_a_circle_end(project):
    path = project / "asyncflow.toml"
    path.symlink_to(path)
    with pytest.raises(OSError, match="too many links"):
        reason_for_distrust(path)
    assert resolve() == MINE


def test_the_users_own_file_is_judged_as_well(project, tmp_path, caplog):
    path = write(tmp_path / "home" / "asyncflow", 0o666)
    assert resolve() == MINE
    assert str(path) in caplog.text


def test_a_file_that_is_named_by_hand_is_obeyed(project, monkeypatch, caplog):
    path = write(project, 0o666)
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(path))
    assert resolve() == THEIRS
    assert not caplog.records


def test_owners_that_a_container_does_not_map_are_no_other_user(monkeypatch, tmp_path):
    facts = {"/proc/self/uid_map": "0 1000 1\n", "/proc/sys/fs/overflowuid": "65534\n"}
    monkeypatch.setattr(Path, "read_text", lambda self, **_: facts[str(self)])
    status = os.stat_result((0o40755, 0, 0, 0, NOBODY, 0, 0, 0, 0, 0))
    assert trust._has_unknown_owner(status)
    facts["/proc/self/uid_map"] = "0 0 4294967295\n"
    assert not trust._has_unknown_owner(status)


def test_without_a_home_there_is_no_file_of_the_user(project, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME", raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert resolve() == MINE


def test_a_home_that_cannot_be_read_holds_no_file(project, monkeypatch, caplog):
    home = project / "home" / "asyncflow"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(project / "home"))
    write(home)
    refused = home / "asyncflow.toml"
    usual = Path.stat

    def stat(self: Path, **options: bool) -> os.stat_result:
        if self == refused:
            raise PermissionError(13, "Permission denied", str(self))
        return usual(self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    with caplog.at_level(logging.DEBUG, "radical.asyncflow"):
        assert resolve() == MINE
    assert "is not looked at" in caplog.text


def test_in_a_folder_that_was_deleted_there_is_no_file(project, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    with contextlib.chdir(gone):
        gone.rmdir()
        assert resolve() == MINE
        os.chdir(project)


def test_a_byte_order_mark_is_no_part_of_the_file(project):
    (project / "asyncflow.toml").write_bytes(b'\xef\xbb\xbfbackend = "noop"\r\n')
    assert resolve() == THEIRS
