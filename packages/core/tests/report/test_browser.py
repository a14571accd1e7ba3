"""The page in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import Page
from radical.asyncflow.journal import (
    AttemptRecord,
    ErrorRecord,
    FunctionRecord,
    RunRecord,
    TaskRecord,
)
from radical.asyncflow.report import Facts, Section, make_sections, render_html

from .conftest import Save
from .synthetic import synthetic

SECTIONS = (
    *("summary", "timeline", "utilisation", "graph", "slowest", "failures", "retries"),
    *("cache", "tasks"),
)
NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "10000.html"
    path.write_text(render_html(synthetic(10_000, seed=1, reused="run.00c0ffee")), "utf-8")
    return path


def middle(page: Page, selector: str) -> tuple[float, float]:
    """Scroll to the first such element, and return where its middle is on the screen."""
    x, y = page.run(
        f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{ block: 'center', behavior: 'instant' }});
            const box = element.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2];
        }})()"""
    )
    return x, y


def lane(page: Page, name: str) -> float:
    """Return the height on the screen of the timeline's row of 18 pixels after the head."""
    top = page.run("document.querySelector('.lanes canvas').getBoundingClientRect().top")
    rows = page.run("JSON.parse(document.getElementById('data').textContent)")
    for place, (_, worker, _) in enumerate(rows["lanes"]):
        if worker is not None and rows["workers"][worker] == name:
            return float(top + 24 + 18 * place + 9)
    raise AssertionError(name)


def test_a_page_of_10_000_tasks_opens_with_all_its_sections(
    page: Page, ten_thousand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    took = page.open(ten_thousand)
    with capsys.disabled():
        print(f"\n10,000 tasks: {ten_thousand.stat().st_size:,} bytes, open in {took:.2f} s")
    for section in SECTIONS:
        words = page.text(f"#{section}")
        assert len(words.splitlines()) > 1, section
        assert page.run(f"document.getElementById('{section}').offsetHeight") > 60


def test_a_page_asks_nobody_for_anything_and_its_console_is_silent(
    page: Page, ten_thousand: Path
) -> None:
    page.open(ten_thousand)
    page.run("document.getElementById('tasks').scrollIntoView()")
    assert page.requests == [ten_thousand.as_uri()]
    assert page.errors == []


def test_timeline_utilisation_and_graph_are_drawn(page: Page, ten_thousand: Path) -> None:
    page.open(ten_thousand)
    colours = """(selector => {
        const canvas = document.querySelector(selector);
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    })"""
    assert page.run(f"{colours}('.lanes canvas')") > 5
    assert page.run(f"{colours}('.usage')") > 3
    assert page.run("document.querySelectorAll('.node').length") == 6
    assert page.run("document.querySelectorAll('.net path').length") >= 4


@pytest.mark.slow
def test_a_page_of_100_000_tasks_opens_and_scrolls(
    page: Page, save: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(synthetic(100_000, seed=2))
    took = page.open(path)
    with capsys.disabled():
        print(f"\n100,000 tasks: {path.stat().st_size:,} bytes, open in {took:.2f} s")
    for section in SECTIONS:
        x, y = middle(page, f"#{section}")
        page.mouse("mouseWheel", x, y, deltaX=0, deltaY=200)
    assert "100,000 tasks" in page.text("#tasks .window")
    assert page.errors == []


@pytest.mark.parametrize("tasks", [1, 2, 10])
def test_a_small_run_shows_each_task_in_the_graph(page: Page, save: Save, tasks: int) -> None:
    page.open(save(synthetic(tasks)))
    assert page.run("document.querySelectorAll('.node').length") == tasks
    assert page.errors == []


def test_what_is_not_connected_stands_side_by_side_in_the_graph(page: Page, save: Save) -> None:
    tall, chains = 30, 8
    after = dict.fromkeys(range(1, tall + 1), ()) | {tall + 1: tuple(range(1, tall + 1))}
    for first in range(tall + 2, tall + 2 + 2 * chains, 2):
        after |= {first: (), first + 1: (first,)}
    run = synthetic(len(after))
    tasks = {number: run.tasks[number]._replace(after=before) for number, before in after.items()}
    page.open(save(run._replace(tasks=tasks)))
    boxes = page.run("""[...document.querySelectorAll('.node')].map(node => {
        const { e, f } = node.transform.baseVal[0].matrix;
        return [+node.textContent.match(/task.(\\d+)/)[1], e, f];
    })""")
    assert len(boxes) == len(after)
    assert all(
        abs(x - other_x) >= 168 or abs(y - other_y) >= 40
        for place, (_, x, y) in enumerate(boxes)
        for _, other_x, other_y in boxes[:place]
    )
    assert {x for number, x, _ in boxes if number <= tall} == {16}
    beside = {number: (x, y) for number, x, y in boxes if number > tall + 1}
    assert all(x > 2 * 168 + 64 and y <= 16 + 29 * 54 for x, y in beside.values())
    assert all(
        y == beside[after[number][0]][1] for number, (_, y) in beside.items() if after[number]
    )
    assert page.errors == []


def test_thousands_of_names_become_a_few_boxes_and_rows(page: Page, save: Save) -> None:
    run = synthetic(5_000, seed=6)
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [
        FunctionRecord(n, f"step {n} {letters[n % 26]}{letters[n // 26 % 26]}", "function", "")
        for n in range(5_001)
    ]
    tasks = {number: task._replace(function=names[number]) for number, task in run.tasks.items()}
    page.open(save(run._replace(tasks=tasks)))
    assert 1 < page.run("document.querySelectorAll('.node').length") <= 120
    assert "other names" in page.run("document.querySelector('.net').textContent")
    assert page.run("document.querySelectorAll('#summary tr').length") < 150
    assert page.errors == []


def test_a_run_without_tasks_opens(page: Page, save: Save) -> None:
    page.open(save(RunRecord("run.0", 0.0)))
    assert "called no tasks" in page.text("#summary")
    assert page.errors == []


def test_a_killed_run_shows_what_ran_when_it_died(page: Page, save: Save) -> None:
    run = synthetic(200, seed=3, killed=0.5)
    page.open(save(run))
    assert "not known: it goes on, or was killed" in page.text("h1")
    running = sum(task.state == "RUNNING" for task in run.tasks.values())
    assert running
    assert f"{running} running" in page.text("#summary .legend")
    assert page.errors == []


def test_a_bar_under_the_mouse_says_which_task_it_is(page: Page, ten_thousand: Path) -> None:
    page.open(ten_thousand)
    x, _ = middle(page, ".lanes canvas")
    page.mouse("mouseMoved", x, lane(page, "process-3"))
    page.until("!document.getElementById('tip').hidden")
    words = page.text("#tip").splitlines()
    assert words[0] == "analyse"
    assert words[1].startswith("task.")
    assert words[-1] == "concurrent · process-3"


def test_a_click_on_a_bar_opens_the_task_and_escape_closes_it(
    page: Page, ten_thousand: Path
) -> None:
    page.open(ten_thousand)
    x, _ = middle(page, ".lanes canvas")
    page.click(x, lane(page, "process-3"))
    page.until("!document.getElementById('panel').hidden")
    assert "analyse" in page.text("#panel h2")
    page.key("Escape")
    page.until("document.getElementById('panel').hidden")


def test_the_wheel_with_control_zooms_and_a_button_shows_the_whole_run(
    page: Page, ten_thousand: Path
) -> None:
    page.open(ten_thousand)
    whole = page.text("#timeline .window")
    x, y = middle(page, ".lanes canvas")
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300, modifiers=2)
    page.until("document.querySelector('#timeline .window').textContent.includes(' to ')")
    assert page.text("#timeline .window") != whole
    page.click(*middle(page, "[data-zoom=all]"))
    page.until(f"document.querySelector('#timeline .window').textContent === {json.dumps(whole)}")
    assert page.errors == []


def test_dragging_pans_the_timeline(page: Page, ten_thousand: Path) -> None:
    page.open(ten_thousand)
    page.run("document.querySelector('.lanes').focus({ preventScroll: true })")
    page.key("+")
    page.until("document.querySelector('#timeline .window').textContent.includes(' to ')")
    before = page.text("#timeline .window")
    x, y = middle(page, ".lanes canvas")
    page.mouse("mousePressed", x, y, button="left", clickCount=1)
    page.mouse("mouseMoved", x + 60, y, button="left", buttons=1)
    page.mouse("mouseReleased", x + 60, y, button="left", clickCount=1)
    page.until(f"document.querySelector('#timeline .window').textContent !== {json.dumps(before)}")
    assert page.run("document.getElementById('panel').hidden")


def test_searching_filters_the_table(page: Page, ten_thousand: Path) -> None:
    page.open(ten_thousand)
    page.run("document.querySelector('#tasks input').focus()")
    page.type("singular")
    page.until("/^\\d+ of /.test(document.querySelector('#tasks .window').textContent)")
    rows = page.run("[...document.querySelectorAll('#tasks tbody tr')].map(row => row.innerText)")
    assert rows
    assert all("ValueError: matrix is singular" in row for row in rows)


def test_a_state_filters_the_table(page: Page, ten_thousand: Path) -> None:
    page.open(ten_thousand)
    page.run("""(() => {
        const choice = document.querySelector('#tasks select');
        choice.value = 'reused';
        choice.dispatchEvent(new Event('change'));
    })()""")
    assert page.text("#tasks .window") == "3,332 of 10,000 tasks"


def test_a_head_sorts_the_table_and_the_next_page_goes_on(page: Page, ten_thousand: Path) -> None:
    page.open(ten_thousand)
    slowest = page.text("#slowest tbody td")
    page.run("[...document.querySelectorAll('#tasks th button')][8].click()")
    assert page.run("document.querySelectorAll('#tasks th')[8].ariaSort") == "descending"
    # The block, which lasts as long as the run, stands before the slowest task.
    rows = "[...document.querySelectorAll('#tasks tbody tr a')].map(link => link.innerText)"
    first = page.run(rows)
    assert first[:2] == ["task.000001", slowest]
    page.run("[...document.querySelectorAll('#tasks .bar button')][1].click()")
    assert not set(page.run(rows)) & set(first)
    assert "Page 2 of 200" in page.text("#tasks")


def test_a_function_in_the_graph_opens_into_tasks_by_the_keyboard(
    page: Page, ten_thousand: Path
) -> None:
    page.open(ten_thousand)
    page.run("""[...document.querySelectorAll('.node')]
        .find(node => node.textContent.includes('analyse')).focus()""")
    page.key("Enter")
    page.until("document.querySelectorAll('.node').length === 6 + 16")
    assert "more analyse" in page.run("document.querySelector('.net').textContent")


def test_a_task_links_to_what_it_waited_for(page: Page, save: Save) -> None:
    path = save(synthetic(10))
    page.open(path)
    page.run("location.hash = 'task-4'")
    page.until("!document.getElementById('panel').hidden")
    assert "task.000003 simulate" in page.text("#panel")
    page.run("document.querySelector('#panel dd a').click()")
    page.until("document.querySelector('#panel code').textContent === 'task.000003'")
    assert "energy" in page.text("#panel pre")


def nasty_run() -> RunRecord:
    """Try an attack with every text that a program can put into a journal."""
    run = synthetic(30, seed=4)
    nasty = FunctionRecord(9, NASTY, "executable", NASTY, NASTY)
    text = f"{NASTY}\n\x1b[31m\u202e\x00\ud800"
    error = ErrorRecord(NASTY, text, f"Traceback\n{text}\n")
    tasks = {
        number: task._replace(
            function=nasty,
            state="FAILED" if number % 2 else "DONE",
            backend=NASTY,
            worker=f"{number % 3} {NASTY}",
            workflow=NASTY,
            why=NASTY,
            error=error if number % 2 else None,
            failed=(AttemptRecord(1, 0.0, 0.1, NASTY, error),),
            stdout=NASTY,
            stderr=f"<!--{NASTY}",
        )
        for number, task in run.tasks.items()
    }
    tasks[2] = tasks[2]._replace(reused=f"{NASTY}/1", state="DONE")
    backends = {NASTY: {"version": NASTY, "up": 0.0, "down": None}}
    return run._replace(
        uid=NASTY,
        host=NASTY,
        python=NASTY,
        outcome=NASTY,
        program=(NASTY, "<!--<script>"),
        backends=backends,
        functions={9: nasty},
        tasks=tasks,
    )


def test_no_text_of_a_run_becomes_an_element_or_a_script(page: Page, save: Save) -> None:
    page.open(save(nasty_run()))
    page.run("location.hash = 'task-3'")
    page.until("!document.getElementById('panel').hidden")
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    x, _ = middle(page, ".lanes canvas")
    page.mouse("mouseMoved", x, lane(page, f"0 {NASTY}"))
    assert NASTY in page.text("#panel h2")
    assert NASTY in page.text("#failures")
    assert NASTY in page.run("document.querySelector('#tasks tbody').textContent")
    assert page.dialogs == []
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.scripts.length") == 2
    assert page.errors == []


def test_direction_marks_and_control_characters_are_shown_as_escapes(
    page: Page, save: Save
) -> None:
    page.open(save(nasty_run()))
    words = page.text("body")
    assert "\\u202e" in words
    assert not {"\u202e", "\x1b", "\x00"} & set(words)


def test_the_policy_stops_scripts_and_requests_that_somebody_adds(page: Page, save: Save) -> None:
    page.open(save(synthetic(10)))
    blocked = page.run("""new Promise(done => {
        const blocked = [];
        addEventListener('securitypolicyviolation', event => {
            blocked.push(event.effectiveDirective);
            if (blocked.length === 3) done(blocked.sort());
        });
        const script = document.createElement('script');
        script.textContent = 'window.bad = true';
        document.body.append(script);
        const image = document.createElement('img');
        image.src = 'http://127.0.0.1:9/x';
        document.body.append(image);
        fetch('http://127.0.0.1:9/y').catch(() => {});
    })""")
    assert blocked == ["connect-src", "img-src", "script-src-elem"]
    assert page.run("window.bad") is None


def test_without_scripts_the_summary_the_failures_and_the_slowest_can_be_read(
    page: Page, ten_thousand: Path
) -> None:
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.send("Page.navigate", url=ten_thousand.as_uri())
    page.until("document.readyState === 'complete' && location.protocol === 'file:'")
    assert "10,000" in page.text("#summary .figures")
    assert "simulate" in page.text("#slowest table")
    assert "matrix is singular" in page.text("#failures pre")
    assert "Scripts are off" in page.text("main")


def test_dark_and_light_follow_the_reader(page: Page, save: Save) -> None:
    path = save(synthetic(10))
    papers = []
    for dark in (False, True):
        page.open(path, dark=dark)
        papers.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert papers == ["rgb(255, 255, 255)", "rgb(18, 22, 27)"]


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
def test_no_window_is_too_narrow(page: Page, ten_thousand: Path, width: int) -> None:
    page.open(ten_thousand, width=width)
    assert page.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_do_not_make_the_page_scroll_sideways(
    page: Page, save: Save, width: int
) -> None:
    run = synthetic(200, seed=1)
    longest = "a_name_of_many_letters" * 14
    tasks = {
        number: task._replace(function=task.function._replace(name=task.name + longest))
        for number, task in run.tasks.items()
    }
    whole = run._replace(tasks=tasks, program=("python", "x" * 300), uid="u" * 150)
    page.open(save(whole), width=width)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run("document.querySelector('#tasks tbody tr').click()")
    page.until("document.querySelector('#panel h2') !== null")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_everything_that_can_be_clicked_can_be_reached_by_the_keyboard(
    page: Page, save: Save
) -> None:
    page.open(save(synthetic(10)))
    page.run("document.body.focus()")
    reached = set()
    for _ in range(120):
        page.key("Tab")
        reached.add(
            page.run("""(() => {
                const at = document.activeElement;
                const section = at.closest('section, nav, body');
                return `${section.id || section.localName} ${at.localName}`;
            })()""")
        )
    assert {
        *("nav a", "timeline button", "timeline select", "timeline div", "graph g"),
        *("slowest a", "tasks input", "tasks select", "tasks button", "tasks a"),
    } <= reached


def test_prints_without_what_only_a_screen_can_use(page: Page, save: Save) -> None:
    page.open(save(synthetic(10)))
    page.send("Emulation.setEmulatedMedia", media="print")
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.run("getComputedStyle(document.querySelector('#tasks .bar')).display") == "none"
    assert page.run("document.querySelector('#summary').offsetHeight") > 100


def test_the_section_of_a_plugin_is_read_and_runs_nothing(page: Page, tmp_path: Path) -> None:
    def nasty(run: RunRecord) -> Section:
        return Section(f"Energy {NASTY}", f"{NASTY}\n\nsecond", (NASTY, "#Tasks"), [(NASTY, "30")])

    def broken(run: RunRecord) -> Section:
        raise ValueError(NASTY)

    run = synthetic(30, seed=2)
    made = make_sections(run, [("acme 1.0", nasty), (NASTY, broken)])
    path = tmp_path / "report.html"
    path.write_text(render_html(run, made), encoding="utf-8")
    page.open(path)
    for words in (page.text("#plugin-0"), page.text("#plugin-1"), page.text("nav")):
        assert NASTY in words
    assert "second" in page.text("#plugin-0")
    assert page.text("#plugin-0 td .number") == "30"
    page.run("document.querySelector('a[href=\"#plugin-0\"]').click()")
    assert page.run("location.hash") == "#plugin-0"
    assert page.run("document.querySelectorAll('#plugin-0 img, #plugin-0 script').length") == 0
    assert (page.dialogs, page.errors) == ([], [])


def test_a_slot_is_busy_with_each_core_of_a_task_and_with_a_service_until_its_end(
    page: Page, save: Save
) -> None:
    wide = FunctionRecord(1, "wide", "executable", "", resources={"ranks": 3})
    serve = FunctionRecord(2, "serve", "executable", "")
    times = {"backend": "b", "worker": "w-1", "added": 0.0, "ready": 0.0, "started": 0.0}
    done = {"exit_code": 0, **times}
    tasks = [
        TaskRecord(1, wide, "DONE", ended=10.0, **done),
        TaskRecord(
            2, serve, "DONE", ended=1.0, serves=True, served=5.0, **done | {"worker": "w-2"}
        ),
    ]
    run = RunRecord(
        *("run.1", 0.0, 10.0, "done"),
        backends={"b": {"version": "", "up": 0.0, "down": 10.0}},
        tasks={task.number: task for task in tasks},
    )
    facts = Facts(run)
    assert facts.backends[0].slots == 4
    assert facts.utilisation == pytest.approx(35 / 40)
    page.open(save(run))
    page.until("document.querySelector('#utilisation .note').textContent.startsWith('88 % of 4')")
    page.run("location.hash = '#task-2'")
    page.until("document.querySelector('#panel dl')?.textContent.includes('0:00:05.000')")
    assert "not known: CPU time, peak memory, bytes" in page.text("#panel")
