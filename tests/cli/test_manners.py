"""Exit codes, one-line errors, what goes to a terminal and what to a pipe, and how fast it starts."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from cleanup_scheduler.errors import UsageError
from cleanup_scheduler.ledger import open_ledger
from cleanup_scheduler_cli.text import safe, safe_log
from cleanup_scheduler_cli.times import age, parse_since, span

from tests.cli.world import JOB, NOW, Teller

CLI = (sys.executable, "-m", "cleanup_scheduler_cli")


def cli(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """cleanup-cli as a process of its own, with no setting of ours in its environment."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CLEANUP_SCHEDULER_", "NO_COLOR"))}
    return subprocess.run(
        [*CLI, *arguments], cwd=folder, env=clean | environment, capture_output=True, text=True, check=False
    )


def on_a_terminal(*arguments: str, folder: Path, **environment: str) -> str:
    """What it prints when stdout is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*CLI, *arguments], cwd=folder, stdout=theirs, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "200", "PAGER": "cat"} | environment,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert process.wait() in (0, 1)
    os.close(ours)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: the other end is closed
        return b""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A ledger with one preserved Job, whose test has a hostile name and whose log is hostile too."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with open_ledger(url) as ledger:
        tell = Teller(ledger)
        tell.run().scope(JOB, outcome="failed", test="t.py::[red]x\x1b[2J")
        tell.log(b"one\x1b[2J\rtwo\r\n\tthree\xff\n")
    return url


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report"], "there is no ledger in"),
        (["report", "--ledger", "mysql://x/y"], "mysql"),
        (["report", "--ledger", "nonsense"], "nonsense"),
        (["nosuch"], "no command 'nosuch'"),
        (["repot"], "did you mean 'report'?"),
        (["report", "--bogus"], "--bogus"),
        (["report", "-o", "xml"], "xml"),
        (["release"], "TARGET"),
        (["completion", "tcsh"], "tcsh"),
    ],
)
def test_bad_input_is_one_line_that_says_what_and_exits_2(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    answer = cli(*arguments, folder=tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
    assert answer.stderr.startswith("cleanup-cli: ")
    assert says in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report", "--since", "yesterday"], "neither a duration nor a time"),
        (["report", "last", "--since", "1h"], "exclude each other"),
        (["report", "nosuchrun"], "`cleanup-cli runs` lists them"),
        (["logs", "job/evaluation-job-2"], "did you mean job/evaluation-job-1?"),
        (["logs", "jobs", "NOT_A_NAME"], "lower-case letters"),
        (["release", "a", "b", "c"], "name one thing"),
    ],
)
def test_a_wrong_name_on_a_ledger_is_one_line_too(
    arguments: list[str], says: str, url: str, tmp_path: Path
) -> None:
    answer = cli(*arguments, "--ledger", url, folder=tmp_path)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert says in answer.stderr


def test_a_misspelt_setting_names_its_file_and_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.cleanup-scheduler]\nledger_ulr = 'x'\n")
    answer = cli("config", folder=tmp_path)
    assert answer.returncode == 2
    assert "ledger_ulr" in answer.stderr
    assert "ledger_url" in answer.stderr
    assert "pyproject.toml" in answer.stderr


def test_a_ledger_out_of_reach_exits_4_and_never_prints_the_password(tmp_path: Path) -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/nothing"
    answer = cli("report", "--ledger", url, folder=tmp_path, CLEANUP_SCHEDULER_LEDGER_TIMEOUT_SECONDS="1")
    assert (answer.returncode, answer.stderr.count("\n")) == (4, 1)
    assert "s3cret" not in answer.stderr
    shown = cli("config", "--ledger", url, folder=tmp_path).stdout
    assert "s3cret" not in shown
    assert "me:***@127.0.0.1" in shown


def test_an_unexpected_error_keeps_its_traceback(tmp_path: Path) -> None:
    code = (
        "import sys, cleanup_scheduler.settings as s; s.load_settings = lambda **_: 1 / 0;"
        "from cleanup_scheduler_cli.main import main; main(['config'])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
    assert "ZeroDivisionError" in answer.stderr


def test_looking_at_a_folder_without_a_ledger_makes_none(tmp_path: Path) -> None:
    for command in (["report"], ["runs"], ["status"], ["logs", "job/x"], ["release", "job/x"], ["config"]):
        cli(*command, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_help_and_version_import_neither_a_database_nor_a_cluster_client(tmp_path: Path) -> None:
    code = (
        "import sys; from cleanup_scheduler_cli.main import run; run(['--help']); run(['report', '--help']);"
        "run(['--version']); heavy = {'sqlalchemy', 'kubernetes', 'rich', 'yaml', 'aiohttp', 'msgspec'};"
        "print('imported:', sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "imported: []" in answer.stdout


def test_global_options_stand_before_or_after_the_command(url: str, tmp_path: Path) -> None:
    before = cli("--ledger", url, "-n", "crucible", "report", "-o", "name", folder=tmp_path)
    after = cli("report", "-o", "name", "-n", "crucible", "--ledger", url, folder=tmp_path)
    assert before.stdout == after.stdout == "job/evaluation-job-1\n"
    assert cli("--ledger", url, "-n", "other", "report", "-o", "name", folder=tmp_path).stdout == ""


def test_config_says_where_each_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "cleanup-scheduler.toml").write_text("preserve_failed_hours = 2\nsweep_seconds = 5\n")
    answer = cli(
        "config", "-o", "csv", "-n", "crucible", folder=tmp_path, CLEANUP_SCHEDULER_SWEEP_SECONDS="7"
    )
    lines = answer.stdout.splitlines()
    assert f"preserve_failed_hours,2.0,hours,{tmp_path / 'cleanup-scheduler.toml'}" in lines
    assert "sweep_seconds,7.0,seconds,CLEANUP_SCHEDULER_SWEEP_SECONDS" in lines
    assert "namespace,crucible,,option" in lines
    assert "orphan_grace_seconds,600.0,seconds,default" in lines


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_gives_each_shell_a_script(shell: str, tmp_path: Path) -> None:
    answer = cli("completion", shell, folder=tmp_path)
    assert answer.returncode == 0
    assert "_CLEANUP_CLI_COMPLETE" in answer.stdout


def test_completion_offers_the_commands(tmp_path: Path) -> None:
    answer = cli(
        folder=tmp_path, _CLEANUP_CLI_COMPLETE="bash_complete", COMP_WORDS="cleanup-cli re", COMP_CWORD="1"
    )
    assert answer.stdout.split() == ["plain,report", "plain,release", "plain,retry"]


def test_colour_is_for_terminals_and_can_be_turned_off(url: str, tmp_path: Path) -> None:
    report = ["report", "last", "--ledger", url]
    assert "\x1b[" in on_a_terminal(*report, folder=tmp_path)
    assert "\x1b[" not in on_a_terminal(*report, "--no-color", folder=tmp_path)
    assert "\x1b[" not in on_a_terminal(*report, folder=tmp_path, NO_COLOR="1")
    assert "\x1b[" not in cli(*report, folder=tmp_path).stdout


def test_nothing_that_a_test_or_log_says_moves_the_cursor(url: str, tmp_path: Path) -> None:
    for command in (["report", "last"], ["report"], ["explain", "job/evaluation-job-1"]):
        shown = on_a_terminal(*command, "--ledger", url, folder=tmp_path)
        assert "\x1b[2J" not in shown, command
        assert "[red]x\\x1b[2J" in "".join(shown.split()).replace("\x1b[0m", ""), command


def test_a_log_is_raw_for_programs_and_safe_for_terminals(url: str, tmp_path: Path) -> None:
    logs = ["logs", "job/evaluation-job-1", "--ledger", url]
    raw = subprocess.run([*CLI, *logs], cwd=tmp_path, capture_output=True, check=True).stdout
    assert raw == b"one\x1b[2J\rtwo\r\n\tthree\xff\n"
    shown = on_a_terminal(*logs, folder=tmp_path)
    assert shown.replace("\r\n", "\n") == "one\\x1b[2J\\rtwo\n\tthree\\xff\n"


def test_a_reader_that_goes_away_is_no_error(url: str, tmp_path: Path) -> None:
    with open_ledger(url) as ledger:
        Teller(ledger).log(b"line\n" * 200_000, container="big")
    command = [*CLI, "logs", "job/evaluation-job-1", "-c", "big", "--ledger", url]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve 日本 👩‍💻", "naïve 日本 👩‍💻"),
        ("a\x1b[0mb", "a\\x1b[0mb"),
        ("\x9b2J", "\\x9b2J"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202etxt", "\\u202etxt"),
        ("\x7f\u2028", "\\x7f\\u2028"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_cannot_be_shown_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert safe(text) == shown
    assert safe_log(b"\xff\n") == "\\xff\n"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("2h30m", 9000), ("7d", 604800), ("1.5h", 5400), ("1w", 604800)]
)
def test_a_duration_means_that_long_ago(text: str, seconds: int) -> None:
    assert (NOW - parse_since(text, NOW)).total_seconds() == seconds


def test_a_time_without_a_zone_is_utc() -> None:
    assert parse_since("2026-01-31T12:00", NOW).isoformat() == "2026-01-31T12:00:00+00:00"
    assert parse_since("2026-01-31T12:00+02:00", NOW).utcoffset() is not None


@pytest.mark.parametrize("text", ["", "h", "10", "1y", "-5m", "99999999999999999d", "2026-13-01"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="neither a duration nor a time"):
        parse_since(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (86400, "24h"), (1e6, "12d")]
)
def test_spans_are_as_short_as_kubectl_s(seconds: float, shown: str) -> None:
    assert span(seconds) == shown
    assert age(None, NOW) == ""
