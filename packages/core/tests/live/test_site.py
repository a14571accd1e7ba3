"""The server of a live page: who may ask, and what viewers get who come, go, or are slow."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from radical.asyncflow._live._serving import listen, new_token
from radical.asyncflow._live._stream import Cursor
from radical.asyncflow.errors import ConfigurationError

from ..journal.journals import begin, done, make, writing
from ..report.synthetic import synthetic, write_journal
from .conftest import TOKEN, Viewer, ask, served


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return write_journal(tmp_path / "journal", synthetic(200, seed=1, killed=0.5))


def test_only_this_machine_and_this_page_may_ask_and_only_with_the_token(journal: Path) -> None:
    with served(journal) as port:
        assert ask(port)[0] == 200
        assert ask(port, Host="localhost:8000")[0] == 200  # through a tunnel
        assert ask(port, Host=f"[::1]:{port}")[0] == 200
        for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", ""):
            assert ask(port, Host=host)[0] == 403
        own = f"http://127.0.0.1:{port}"
        assert ask(port, Origin=own)[0] == 200
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https{own[4:]}"):
            assert ask(port, Origin=origin)[0] == 403
        assert ask(port, Sec_Fetch_Site="same-origin")[0] == 200
        for site in ("cross-site", "same-site"):
            assert ask(port, Sec_Fetch_Site=site)[0] == 403
        for path in ("/", "/x", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", "/events", "/é"):
            assert ask(port, path.replace("é", "%C3%A9"))[0] == 404
        for path in ("", "events", "task/1"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                assert ask(port, f"/{TOKEN}/{path}", method)[0] == 405


def test_every_answer_forbids_what_a_page_does_not_need(journal: Path) -> None:
    with served(journal) as port:
        for path in ("/", f"/{TOKEN}/", f"/{TOKEN}/task/1"):
            _, headers, _ = ask(port, path)
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-frame-options"] == "DENY"
            assert "server" not in headers
        _, headers, body = ask(port)
        rules = dict(
            rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";")
        )
        assert rules["default-src"] == "'none'"
        assert rules["connect-src"] == "'self'"
        assert rules["frame-ancestors"] == "'none'"
        assert rules["script-src"].startswith("'sha256-")
        assert TOKEN.encode() not in body


def test_it_listens_on_the_loopback_alone() -> None:
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_or_token_that_cannot_be_is_refused() -> None:
    with listen(0) as listener, pytest.raises(ConfigurationError, match="cannot be used"):
        listen(listener.getsockname()[1])
    for port in (-1, 65536, True, "80"):
        with pytest.raises(ConfigurationError, match="port must be"):
            listen(port)  # type: ignore[arg-type]
    for token in ("short", "with/a/slash/inside/it", "percent%20sign%20inside", ""):
        with pytest.raises(ConfigurationError, match="at least 16"):
            new_token(token)


def test_a_viewer_gets_everything_and_then_what_changes(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        writer.commit([*begin(), *map(done, range(1, 4))])
        with served(path) as port, Viewer(port) as viewer:
            viewer.until(lambda: len(viewer.tasks) == 3)
            viewer.tasks.clear()
            writer.commit([done(4)])
            viewer.until(lambda: bool(viewer.tasks))
            assert viewer.tasks == {4: "DONE"}


def test_a_viewer_who_comes_again_gets_what_it_missed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        writer.commit([*begin(), *map(done, range(1, 4))])
        with served(path) as port:
            with Viewer(port) as viewer:
                viewer.until(lambda: len(viewer.tasks) == 3)
                known = viewer.id
            writer.commit([done(4), done(5)])
            with Viewer(port, known) as again:
                again.until(lambda: len(again.tasks) == 2)
                assert set(again.tasks) == {4, 5}
            for other in ("nonsense", "1.2", str(Cursor("another", 99, -1))):
                with Viewer(port, other) as new:
                    new.until(lambda: set(new.tasks) == {1, 2, 3, 4, 5})


def test_the_tasks_come_in_several_messages_if_they_are_many(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 12_000)
    with served(path) as port, Viewer(port) as viewer:
        first = viewer.read()
        assert first is not None
        assert first["more"]
        viewer.until(lambda: len(viewer.tasks) == 12_000)
        assert viewer.parts["figures"]


def test_a_viewer_who_does_not_read_gets_the_latest_state_and_not_each_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        writer.commit(begin())
        with served(path) as port, Viewer(port) as slow, Viewer(port) as quick:
            slow.read()
            for number in range(1, 15):
                writer.commit([done(each) for each in range(number * 100, number * 100 + 100)])
                quick.until(lambda number=number: number * 100 in quick.tasks)  # type: ignore[misc]
            slow.until(lambda: slow.tasks.keys() == quick.tasks.keys())
            assert slow.size <= quick.size * 1.5


def test_several_viewers_see_the_same(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal", synthetic(200, seed=1))
    with served(path) as port, Viewer(port) as one, Viewer(port) as other:
        for viewer in (one, other):
            while viewer.read() is not None:
                pass
        assert one.tasks == other.tasks != {}
        assert one.parts == other.parts


def test_more_viewers_than_there_is_room_for_are_refused(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow._live._site.MAX_VIEWERS", 1)
    with served(journal) as port, Viewer(port) as viewer:
        viewer.read()
        with Viewer(port) as other:
            assert other.answer.status == 503


def test_what_a_task_left_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    run = synthetic(1_000, seed=1)
    with served(write_journal(tmp_path / "journal", run)) as port:
        failed = next(task for task in run.tasks.values() if task.state == "FAILED")
        status, _, body = ask(port, f"/{TOKEN}/task/{failed.number}")
        assert status == 200
        assert failed.error is not None
        assert failed.error.text.encode() in body
        assert ask(port, f"/{TOKEN}/task/9999")[0] == 404


def test_the_end_of_a_run_is_the_last_message(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journal", synthetic(50, seed=2))
    with served(path) as port, Viewer(port) as viewer:
        while viewer.read() is not None:
            pass
        assert viewer.last["last"] is True
        assert viewer.last["state"] in ("done", "failed")
        assert len(viewer.tasks) == 50


def test_a_run_that_begins_later_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 5, "run.1")
    with served(path) as port, Viewer(port) as viewer:
        viewer.until(lambda: len(viewer.tasks) == 5)
        epoch = viewer.id.split(".")[0]
        make(path, 7, "run.2")
        viewer.until(lambda: viewer.id.split(".")[0] != epoch)
        viewer.until(lambda: len(viewer.tasks) == 7)
        assert viewer.last["title"].startswith("run.2")


def test_a_half_open_connection_does_not_keep_the_server(journal: Path) -> None:
    with served(journal) as port, socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET /")
        assert ask(port)[0] == 200
