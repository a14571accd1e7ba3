"""The reason why a process died, with what shows it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from radical.asyncflow.errors import DeathReason, ExecutableError, WorkerLostError
from radical.asyncflow.worker import _death, explain_death

LOG = (
    "<6>[  100.000000] python[70]: segfault at 0 ip 00 sp 00 error 4 in libc.so.6\n"
    "<6>[  100.500000] Memory cgroup out of memory: Killed process 71 (python3) "
    "total-vm:211880kB, anon-rss:58240kB\n"
)
MOUNTS = {
    1: "34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n",
    2: "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
}
GROUPS = {1: "4:memory:/job\n", 2: "0::/job\n"}
COUNTERS = {
    1: "sys/fs/cgroup/memory/job/memory.oom_control",
    2: "sys/fs/cgroup/job/memory.events",
}
LIMITS = {
    1: "sys/fs/cgroup/memory/job/memory.limit_in_bytes",
    2: "sys/fs/cgroup/job/memory.max",
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test with an empty kernel log, counters that stand still, and a small program."""
    monkeypatch.setattr(_death, "_kernel_log", lambda: "")
    monkeypatch.setattr(_death, "_kills", None)
    monkeypatch.setattr(_death, "is_of_child", lambda _: True)
    monkeypatch.setattr(_death, "usable_memory", lambda *_: 10**9)


@pytest.fixture(params=[1, 2])
def counter(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A counter of killed processes that stands at 3, as each version of control groups has it."""
    version = request.param
    texts = {
        "proc/self/cgroup": GROUPS[version],
        "proc/self/mountinfo": MOUNTS[version],
        COUNTERS[version]: "oom 9\noom_kill 3\n",
        LIMITS[version]: "1000000000",
    }
    for path, text in texts.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(_death, "_kills", _death._Kills(tmp_path))
    return tmp_path / COUNTERS[version]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (3, DeathReason.EXIT),
        (None, DeathReason.UNKNOWN),
        (-signal.SIGSEGV, DeathReason.CRASH),
        (-signal.SIGABRT, DeathReason.CRASH),
        (-signal.SIGBUS, DeathReason.CRASH),
        (-signal.SIGFPE, DeathReason.CRASH),
        (-signal.SIGKILL, DeathReason.KILLED),
        (-signal.SIGTERM, DeathReason.KILLED),
        (-signal.SIGHUP, DeathReason.KILLED),
        (-signal.SIGXCPU, DeathReason.LIMIT),
        (-signal.SIGXFSZ, DeathReason.LIMIT),
        (128 + signal.SIGSEGV, DeathReason.EXIT),
        (128 + signal.SIGKILL, DeathReason.EXIT),
    ],
)
def test_the_exit_code_alone(code: int | None, reason: DeathReason) -> None:
    assert explain_death(72, code).reason is reason
    assert explain_death(None, code).reason is reason


@pytest.mark.parametrize("code", [-signal.SIGKILL, 128 + signal.SIGKILL])
def test_a_counter_that_rose_means_memory_once(counter: Path, code: int) -> None:
    assert explain_death(72, code).reason is not DeathReason.MEMORY
    counter.write_text("oom 10\noom_kill 4\n")
    elsewhere = explain_death(None, code)
    assert elsewhere.reason is not DeathReason.MEMORY
    death = explain_death(72, code)
    assert death.reason is DeathReason.MEMORY
    assert str(counter.parent) in death.evidence
    assert "1 GB" in death.evidence
    assert explain_death(72, code).reason is not DeathReason.MEMORY


def test_a_signal_that_the_kernel_does_not_use_for_memory_is_none_of_it(counter: Path) -> None:
    counter.write_text("oom_kill 4\n")
    assert explain_death(72, -signal.SIGTERM).reason is DeathReason.KILLED


def test_the_log_of_the_kernel_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_death, "_kernel_log", lambda: LOG)
    monkeypatch.setattr(_death.time, "clock_gettime", lambda _: 101.0)
    death = explain_death(71, -signal.SIGKILL)
    assert death.reason is DeathReason.MEMORY
    assert "Killed process 71 (python3)" in death.evidence
    crash = explain_death(70, -signal.SIGSEGV)
    assert crash.reason is DeathReason.CRASH
    assert "segfault at 0" in crash.evidence
    assert explain_death(7, -signal.SIGKILL).reason is DeathReason.KILLED


def test_an_old_line_is_about_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_death, "_kernel_log", lambda: LOG)
    monkeypatch.setattr(_death.time, "clock_gettime", lambda _: 5000.0)
    assert explain_death(71, -signal.SIGKILL).reason is DeathReason.KILLED


def test_whoever_had_nearly_all_the_memory_was_killed_for_it() -> None:
    death = explain_death(72, -signal.SIGKILL, peak=950_000_000)
    assert death.reason is DeathReason.MEMORY
    assert "950 MB of the 1 GB" in death.evidence
    small = explain_death(72, -signal.SIGKILL, peak=50_000_000)
    assert small.reason is DeathReason.KILLED
    assert "at most 50 MB" in small.evidence


def test_the_peak_of_a_large_program_says_nothing_about_its_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_death, "is_of_child", lambda peak: peak > 980_000_000)
    assert explain_death(72, -signal.SIGKILL, peak=980_000_000).reason is DeathReason.KILLED


def test_the_errors_name_signal_and_evidence() -> None:
    lost = WorkerLostError("t", "w", 9, 2, "too much", DeathReason.MEMORY)
    assert "signal 9 (SIGKILL)" in str(lost)
    assert lost.reason is DeathReason.MEMORY
    ended = ExecutableError("run", -11, reason=DeathReason.CRASH, evidence="it crashed by itself")
    assert str(ended) == "command ended with signal 11 (SIGSEGV) (it crashed by itself): run"
    assert ended.reason is DeathReason.CRASH
    assert ExecutableError("run", 2).reason is DeathReason.EXIT
