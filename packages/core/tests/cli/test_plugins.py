"""What plugins add to the command: commands, profiles, checks, sections, stores, and their list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from radical.asyncflow.journal import read

from ..conftest import Distribution
from ..report.synthetic import synthetic, write_journal
from .conftest import Invoke, Run, Script

ACME = r"""
    import shutil, sys, threading
    from pathlib import Path
    import click
    from radical.asyncflow.hookspecs import ArtifactStore, CheckResult
    from radical.asyncflow.report import Section

    @click.command("another-name")
    @click.option("--loud", is_flag=True)
    def greet(loud):
        "Greet in a long sentence that only the module has."
        click.echo("HELLO" if loud else "hello")

    IRON = {"backend": "concurrent", "config": {"max_workers": 3}}

    def computed():
        return {"prefer": ["nobody", "concurrent"]}

    def listed(text):
        return ["a text"]

    def failing():
        raise OSError("the site is down")

    def checks():
        yield CheckResult("scratch", True, "7 TB \x1b[31m are free")
        yield CheckResult("quota", False, "it is used up", "Ask for more.")
        yield CheckResult("motd", None, "welcome")

    never = threading.Event()

    def slow():
        never.wait()

    def wrong():
        return ["a text"]

    def section(run):
        return Section(
            "Energy <b>",
            "First <script>alert(1)</script>.\n\nSecond \x1b[31m.",
            ("Tasks & more", "#kWh"),
            [("<img src=x onerror=alert(1)>", str(len(run.tasks)))],
        )

    def silent(run):
        return None

    def broken(run):
        raise KeyError("<no figures>")

    class Folder(ArtifactStore):
        def __init__(self, text):
            self.folder = Path(text)
        def put(self, run, path):
            folder = self.folder / run
            folder.mkdir()
            return str(shutil.copy2(path, folder))

    class Full(ArtifactStore):
        def __init__(self, text):
            pass
        def put(self, run, path):
            raise OSError("quota exceeded")
"""


def install(distribution: Distribution, group: str, **names: str) -> None:
    distribution(
        "acme-flow",
        {group: {name.replace("_", "-"): f"acme_flow:{value}" for name, value in names.items()}},
        {"acme_flow": ACME},
        headers="Summary: Things of ACME\n",
    )


def is_imported() -> bool:
    return "acme_flow" in sys.modules


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(write_journal(tmp_path / "campaign.journal", synthetic(30, seed=3)))


class TestCommands:
    def test_a_command_appears_and_runs(self, invoke: Invoke, distribution: Distribution) -> None:
        install(distribution, "commands", say_hello="greet")
        help_text = invoke("--help").stdout
        assert "Plugins:\n  say-hello   Things of ACME\n" in help_text
        assert not is_imported()
        assert invoke("say-hello", "--loud").stdout == "HELLO\n"
        assert "Greet in a long sentence" in invoke("say-hello", "--help").stdout
        assert "Did you mean 'say-hello'?" in invoke("say-helo").stderr

    def test_a_command_of_ours_imports_no_metadata(self) -> None:
        code = (
            "import sys\n"
            "from radical.asyncflow.cli import main\n"
            "try: main(['runs', '--help'])\n"
            "except SystemExit: pass\n"
            "print(sorted({'importlib.metadata', 'pluggy'} & {*sys.modules}))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"

    def test_one_cannot_take_the_name_of_ours(
        self, invoke: Invoke, distribution: Distribution
    ) -> None:
        install(distribution, "commands", doctor="greet")
        result = invoke("--help")
        assert "the command doctor of acme-flow 1.0 is left out" in result.stderr
        assert "Things of ACME" not in result.stdout

    def test_one_that_does_not_load_is_one_message_and_harms_no_other(
        self, invoke: Invoke, distribution: Distribution
    ) -> None:
        install(distribution, "commands", good="greet")
        distribution("acme-bad", {"commands": {"bad": "bad_flow:x"}}, {"bad_flow": "1 / 0"})
        assert invoke("good").stdout == "hello\n"
        result = invoke("bad")
        assert result.exit_code == 2
        assert "Command 'bad' is not available.\nReason: ZeroDivisionError" in result.stderr
        assert invoke("good").stdout == "hello\n"

    def test_a_shell_completes_it_without_an_error(
        self, run: Run, distribution: Distribution
    ) -> None:
        install(distribution, "commands", say_hello="greet")
        distribution("acme-bad", {"commands": {"bad": "none:x"}}, {})

        def words(line: str, number: int) -> list[str]:
            variables = {
                "_ASYNCFLOW_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(number),
            }
            done = run(env={**os.environ, **variables})
            assert done.stderr == ""
            return [each.partition(",")[2] for each in done.stdout.split()]

        assert words("asyncflow say", 1) == ["say-hello"]
        assert words("asyncflow say-hello --l", 2) == ["--loud"]
        assert words("asyncflow bad --l", 2) == []


class TestProfiles:
    SHOW = """
        import asyncio
        from radical.asyncflow import WorkflowEngine
        async def main():
            async with WorkflowEngine.create() as flow:
                print(flow.backend.capacity())
        asyncio.run(main())
    """

    def test_one_is_chosen_by_name(
        self, run: Run, distribution: Distribution, script: Script
    ) -> None:
        install(distribution, "profiles", iron="IRON", rust="failing")
        assert run("run", "--profile", "iron", script(self.SHOW)).stdout == "3\n"

    def test_one_may_be_computed(self, distribution: Distribution) -> None:
        from radical.asyncflow._discovery import profiles

        install(distribution, "profiles", steel="computed")
        (choice,) = profiles.resolve(profile="steel")
        assert [one.name for one in choice.candidates] == ["nobody", "concurrent"]

    def test_that_of_a_file_counts_and_imports_nothing(
        self, invoke: Invoke, distribution: Distribution, script: Script, tmp_path: Path
    ) -> None:
        install(distribution, "profiles", iron="IRON")
        file = tmp_path / "mine.toml"
        file.write_text('[profiles.iron]\nbackend = "concurrent"\nconfig = {max_workers = 2}\n')
        program = script(self.SHOW)
        output = invoke("run", "--config", str(file), "--profile", "iron", program).stdout
        assert output == "2\n"
        assert not is_imported()

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("irno", "no profile 'irno'; did you mean 'iron'? (known: iron, rust)"),
            ("rust", "the profile rust does not work: OSError: the site is down"),
        ],
    )
    def test_one_that_cannot_be_used_is_one_message(
        self, invoke: Invoke, distribution: Distribution, script: Script, name: str, text: str
    ) -> None:
        install(distribution, "profiles", iron="IRON", rust="failing")
        result = invoke("run", "--profile", name, script(self.SHOW))
        assert (result.exit_code, text in result.stderr) == (2, True)

    def test_the_doctor_lists_those_that_work(
        self, invoke: Invoke, distribution: Distribution
    ) -> None:
        install(distribution, "profiles", iron="IRON", rust="failing")
        result = invoke("doctor")
        assert "profile iron: concurrent" in result.stdout
        assert "profiles of plugin rust of acme-flow 1.0 are left out" in result.stderr


class TestChecks:
    def test_the_doctor_runs_them_and_shows_each_result(
        self, invoke: Invoke, distribution: Distribution
    ) -> None:
        install(distribution, "checks", site="checks")
        result = invoke("doctor")
        assert result.exit_code == 1
        shown = result.stdout.partition("This site\n")[2]
        assert [line.split()[:2] for line in shown.splitlines()[:5]] == [
            ["ok", "scratch"],
            ["failed", "quota"],
            ["why:", "it"],
            ["fix:", "Ask"],
            ["-", "motd"],
        ]
        assert "\x1b" not in shown
        assert "1 check failed." in shown

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("failing", "does not work: OSError: the site is down"),
            ("wrong", "must return CheckResults, not 'a text'"),
            ("slow", "it was not done within 0.2 s"),
        ],
    )
    def test_one_that_does_not_work_is_a_failed_check(
        self, invoke: Invoke, distribution: Distribution, name: str, text: str
    ) -> None:
        install(distribution, "checks", one=name, two="checks")
        result = invoke("doctor", *(["--timeout", "0.2"] if name == "slow" else []))
        if name == "slow":
            sys.modules["acme_flow"].never.set()
        assert f"the check one of acme-flow 1.0 {text}" in result.stdout or text in result.stdout
        assert "scratch" in result.stdout
        assert "2 checks failed." in result.stdout


class TestSections:
    def test_the_page_shows_it_and_escapes_everything(
        self, invoke: Invoke, distribution: Distribution, journal: str
    ) -> None:
        install(distribution, "sections", energy="section", none="silent", bad="broken")
        page = invoke("report", journal, "-o", "-").stdout
        assert '<h2 id="plugin-1-head">Energy &lt;b&gt;</h2>' in page
        assert "First &lt;script&gt;alert(1)&lt;/script&gt;." in page
        assert "<img" not in page
        assert "&lt;img src=x onerror=alert(1)&gt;" in page
        assert '<th scope="col">Tasks &amp; more</th>' in page
        assert '<span class="number">30</span>' in page
        assert '<a href="#plugin-1">Energy &lt;b&gt;</a>' in page
        assert (
            "Section bad of acme-flow 1.0 is left out: KeyError: &#x27;&lt;no figures&gt;&#x27;"
            in page
        )
        assert "none of acme-flow" not in page
        assert "\x1b" not in page

    def test_the_text_shows_it_too(
        self, invoke: Invoke, distribution: Distribution, journal: str
    ) -> None:
        install(distribution, "sections", energy="section", bad="broken")
        text = invoke("show", journal).stdout
        assert "\nbad of acme-flow 1.0\n  left out: KeyError: '<no figures>'\n" in text
        lines = text.partition("\nEnergy <b>\n")[2].splitlines()
        assert lines[:3] == ["  First <script>alert(1)</script>.", "", r"  Second \x1b[31m."]
        assert [line.split("  ")[-1] for line in lines[3:5]] == ["kWh", "30"]
        sections = json.loads(invoke("show", journal, "--json").stdout)["sections"]
        assert [each["error"] for each in sections] == ["KeyError: '<no figures>'", None]
        assert sections[1]["rows"] == [["<img src=x onerror=alert(1)>", "30"]]

    def test_without_one_no_metadata_are_read(self, journal: str) -> None:
        code = (
            "import sys\n"
            "from radical.asyncflow.cli import main\n"
            "try: main(['show', sys.argv[1]])\n"
            "except SystemExit: pass\n"
            "print('importlib.metadata' in sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, journal], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "False"

    def test_other_formats_and_lists_of_tasks_import_none(
        self, invoke: Invoke, distribution: Distribution, journal: str
    ) -> None:
        install(distribution, "sections", energy="section")
        assert invoke("report", journal, "-o", "-", "--format", "csv").exit_code == 0
        assert invoke("show", journal, "--tasks").exit_code == 0
        assert not is_imported()


class TestStores:
    def test_a_store_gets_the_report(
        self, invoke: Invoke, distribution: Distribution, journal: str, tmp_path: Path
    ) -> None:
        install(distribution, "stores", folder="Folder")
        store = tmp_path / "kept"
        store.mkdir()
        uid = read(journal)[0].uid
        output = invoke("report", journal, "--store", f"folder:{store}").stdout.strip()
        assert output == str(store / uid / f"{uid}.html")
        assert "</html>" in Path(output).read_text(encoding="utf-8")
        assert not Path(f"{uid}.html").exists()

    def test_a_file_may_be_written_as_well(
        self, invoke: Invoke, distribution: Distribution, journal: str, tmp_path: Path
    ) -> None:
        install(distribution, "stores", folder="Folder")
        table = tmp_path / "tasks.csv"
        result = invoke("report", journal, "-o", str(table), "--store", f"folder:{tmp_path}")
        first, second = result.stdout.splitlines()
        assert first == str(table)
        assert Path(second).read_bytes() == table.read_bytes()

    @pytest.mark.parametrize(
        ("wanted", "text"),
        [
            ("flder:x", "Closest known names: folder"),
            ("full", "the artifact store full does not work: OSError: quota exceeded"),
            ("wrong", "the artifact store wrong must give an ArtifactStore, not ['a text']"),
            ("failing", "the artifact store failing does not work: TypeError"),
        ],
    )
    def test_one_that_cannot_be_used_is_one_message(
        self, invoke: Invoke, distribution: Distribution, journal: str, wanted: str, text: str
    ) -> None:
        install(
            distribution, "stores", folder="Folder", full="Full", wrong="listed", failing="failing"
        )
        result = invoke("report", journal, "--store", wanted)
        assert (result.exit_code, text in result.stderr) == (2, True), result.stderr

    def test_what_means_nothing_with_a_store_is_refused(self, invoke: Invoke, journal: str) -> None:
        assert "--store takes a file" in invoke("report", journal, "--store", "x", "--open").stderr


class TestRun:
    def test_an_observer_and_a_carrier_may_be_named(
        self, run: Run, distribution: Distribution, script: Script, tmp_path: Path
    ) -> None:
        code = """
            def make(run, text):
                def observe(events):
                    with open(text, "a") as file:
                        file.writelines(f"{type(event).__name__}\\n" for event in events)
                return observe
        """
        distribution("acme", {"observers": {"names": "acme_names:make"}}, {"acme_names": code})
        seen = tmp_path / "seen"
        result = run("run", "--observer", f"names:{seen}", script(TestProfiles.SHOW))
        assert result.returncode == 0, result.stderr
        assert seen.read_text().split()[:1] == ["RunEvent"]

    def test_a_wrong_name_is_an_error_before_the_program_begins(
        self, invoke: Invoke, script: Script
    ) -> None:
        result = invoke("run", "--carrier", "nobody", script("print('began')"))
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Carrier 'nobody' is not available." in result.stderr


class TestList:
    def test_a_table_and_json_say_the_same(
        self, invoke: Invoke, distribution: Distribution
    ) -> None:
        install(distribution, "profiles", iron="IRON")
        distribution("acme-bad", {"stores": {"bad": "bad_flow:x"}}, {"bad_flow": "1 / 0"})
        text = invoke("plugins", "list").stdout
        assert text.splitlines()[0].split() == [
            *("NAME", "KIND", "STATUS", "DISTRIBUTION", "VERSION")
        ]
        assert ["iron", "profile", "available", "acme-flow", "1.0"] in [
            line.split() for line in text.splitlines()
        ]
        found = {
            each["name"]: each for each in json.loads(invoke("plugins", "list", "--json").stdout)
        }
        assert found["iron"] == {
            "name": "iron",
            "group": "radical.asyncflow.profiles",
            "distribution": "acme-flow",
            "version": "1.0",
            "status": "available",
            "reason": "",
            "hint": "",
            "value": "acme_flow:IRON",
            "summary": "Things of ACME",
        }
        assert found["bad"]["status"] == "available"
        assert not is_imported()

    def test_with_load_those_that_fail_are_named(
        self, invoke: Invoke, distribution: Distribution
    ) -> None:
        distribution("acme-bad", {"stores": {"bad": "bad_flow:x"}}, {"bad_flow": "1 / 0"})
        result = invoke("plugins", "list", "--load")
        assert result.exit_code == 1
        assert "artifact store bad  ZeroDivisionError: division by zero; Try:" in result.stdout
