"""The names of new projects, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from radical.asyncflow import ConfigurationError
from radical.asyncflow._scaffold.name import Name
from radical.asyncflow._scaffold.project import BACKENDS, PLUGINS, Kind, write_project

KINDS = {**BACKENDS, **PLUGINS}


def test_a_name_has_its_forms() -> None:
    assert Name.of("my-cluster_2") == (
        "my_cluster_2",
        "asyncflow-my-cluster-2",
        "asyncflow_my_cluster_2",
        "MyCluster2",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("My.Cluster", "'my-cluster' would do"),
        ("2fast", "'fast' would do"),
        ("", "no name"),
        ("../evil", "'evil' would do"),
        ("a b", "'a-b' would do"),
        ("a--b", "'a-b' would do"),
        ("a-", "'a' would do"),
        ("näh", "no name"),
        ("x\n", "no name"),
        ("x" * 25, "too long"),
        ("tests", "says nothing"),
    ],
)
def test_what_is_no_name_is_refused_with_what_would_do(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match="name") as caught:
        Name.of(text)
    assert words in str(caught.value)


def test_a_name_is_put_in_once_even_if_it_holds_the_placeholder() -> None:
    name = Name.of("skeleton-of-skeleton")
    text = "skeleton Skeleton asyncflow_skeleton asyncflow-skeleton"
    assert name.put_into(text) == " ".join(
        [
            "skeleton_of_skeleton",
            "SkeletonOfSkeleton",
            "asyncflow_skeleton_of_skeleton",
            "asyncflow-skeleton-of-skeleton",
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_of_the_templates_is_nowhere_left(kind: str, tmp_path: Path) -> None:
    files = write_project(Name.of("mine"), KINDS[kind], tmp_path / "new")
    assert sorted(path for path in (tmp_path / "new").rglob("*") if path.is_file()) == files
    for path in files:
        assert "skeleton" not in str(path.relative_to(tmp_path)).lower()
        assert "skeleton" not in path.read_text().lower()


def test_what_tools_leave_in_the_templates_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = tmp_path / "templates" / "layer"
    for name in ("good.py", "__pycache__/good.pyc", ".ruff_cache/.gitignore", "x/.mypy_cache/y"):
        (layer / name).parent.mkdir(parents=True, exist_ok=True)
        (layer / name).write_bytes(b"\xff")
    (layer / "good.py").write_text("skeleton")
    monkeypatch.setattr("radical.asyncflow._scaffold.project.TEMPLATES", tmp_path / "templates")
    files = write_project(Name.of("mine"), Kind(("layer",), "", ""), tmp_path / "new")
    assert files == [tmp_path / "new" / "good.py"]
    assert files[0].read_text() == "mine"


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_a_folder_that_exists_is_left_alone(there: str, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    if there == "folder":
        folder.mkdir()
    elif there == "file":
        folder.write_text("mine")
    else:
        folder.symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match="exists"):
        write_project(Name.of("mine"), BACKENDS["minimal"], folder)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "new"
    with pytest.raises(ConfigurationError, match="cannot make the folder") as caught:
        write_project(Name.of("mine"), BACKENDS["minimal"], folder)
    assert str(folder) in str(caught.value)


def test_nothing_is_left_if_a_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text, written = Path.write_text, []

    def fail_at_the_third(self: Path, *args: str) -> int:
        written.append(self)
        if len(written) == 3:
            raise OSError(28, "No space left on device", str(self))
        return write_text(self, *args)

    monkeypatch.setattr(Path, "write_text", fail_at_the_third)
    with pytest.raises(ConfigurationError, match="No space left"):
        write_project(Name.of("mine"), BACKENDS["minimal"], tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
