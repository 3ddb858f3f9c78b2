"""`ledger …`, `verify` and `doctor`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.ledger import Journal, open_ledger
from cleanup_scheduler_cli.main import run

from tests.cli.conftest import Command
from tests.cli.world import JOB, RUN, Teller
from tests.databases import execute
from tests.ledger.test_doctor import is_durable


def ended_long_ago(tell: Teller) -> Teller:
    tell.run(ago_seconds=9e6)
    tell.say(e.ScopeOpened(test_id="t", level="all", level_source="o"), ago_seconds=9e6)
    tell.say(e.ResourceTracked(resource=JOB), ago_seconds=9e6)
    tell.say(e.ResourceGone(resource=JOB, uid="u", how="deleted"), ago_seconds=9e6)
    tell.say(e.OutcomeRecorded(outcome="passed"), ago_seconds=9e6)
    tell.say(e.PolicyApplied(level="all", outcome="passed", rule="passed", gone=1), ago_seconds=9e6)
    return tell.say(e.RunFinished(), scope_id="", ago_seconds=9e6)


def test_an_intact_ledger_verifies_and_prints_a_head_that_verifies_later(
    tell: Teller, command: Command
) -> None:
    ended_long_ago(tell)
    answer = command("verify")
    assert (answer.code, answer.out.splitlines()[0]) == (0, "7 events fit")
    head = answer.out.split()[-1]
    tell.run("0190ffff" + RUN[8:])
    assert command("verify", "--head", head).code == 0
    forged = f"{head.partition(':')[0]}:{'0' * 64}"
    answer = command("verify", "--head", forged, "--json")
    assert (answer.code, answer.json["broken"][0]["position"]) == (1, 7)
    cut_off = f"99:{'0' * 64}"
    assert "its end was cut off" in command("verify", "--head", cut_off).out


@pytest.mark.parametrize("head", ["7", "x:y", "7:abc", f"-1:{'0' * 64}"])
def test_a_head_that_is_none_is_refused(head: str, command: Command) -> None:
    assert command("verify", "--head", head).code == 2


def test_a_change_behind_our_back_is_named_by_its_position(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import sqlite3

    url = f"sqlite:///{tmp_path / 'l.db'}"
    with open_ledger(url) as ledger:
        ended_long_ago(Teller(ledger))
    with sqlite3.connect(tmp_path / "l.db") as database:
        database.execute("DROP TRIGGER events_no_update")
        database.execute("UPDATE events SET producer = 'somebody' WHERE position = 3")
    database.close()
    assert run(["verify", "--ledger", url]) == 1
    assert "BROKEN at position 3" in capfd.readouterr().out
    assert run(["doctor", "--ledger", url]) == 1
    assert "events_no_update" in capfd.readouterr().out


def test_the_doctor_finds_a_fresh_ledger_well(ledger_url: str, tell: Teller, command: Command) -> None:
    tell.run()
    answer = command("doctor", "--json")
    assert {"schema", "triggers", "clock", "journal"} <= {finding["check"] for finding in answer.json}
    wrong = [finding["detail"] for finding in answer.json if finding["state"] == "problem"]
    if ledger_url.startswith("postgresql") and not is_durable(tell.ledger):
        assert [("fsync" in detail) for detail in wrong] == [True]  # a server for tests, and it shows
    else:
        assert wrong == []
    assert answer.code == (1 if wrong else 0)
    assert "events cannot be changed or removed" in command("doctor").out


def test_an_export_read_into_an_empty_ledger_gives_the_same_logs(
    tell: Teller, command: Command, tmp_path: Path
) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"hello\n")
    file = str(tmp_path / "dump.jsonl")
    assert command("ledger", "export", file).code == 0
    other = f"sqlite:///{tmp_path / 'other' / 'l.db'}"
    assert command("ledger", "import", file, ledger=other).code == 0
    assert command("logs", "job/evaluation-job-1", ledger=other).out == "hello\n"
    assert command("ledger", "import", file, ledger=other).out.startswith("0 events stored, ")


def test_an_export_to_stdout_can_leave_the_logs_out(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"hello\n")
    whole, without = command("ledger", "export", "-").raw, command("ledger", "export", "-", "--no-logs").raw
    assert len(whole.splitlines()) == len(without.splitlines()) + 1


def test_an_export_never_overwrites_and_an_import_names_its_bad_line(
    tell: Teller, command: Command, tmp_path: Path
) -> None:
    tell.run()
    file = tmp_path / "there.jsonl"
    file.write_text("{}\n")
    assert "exists" in command("ledger", "export", str(file)).err
    answer = command("ledger", "import", str(file))
    assert (answer.code, "line 1" in answer.err) == (2, True)
    assert "cannot be read" in command("ledger", "import", str(tmp_path / "nosuch")).err


def test_what_waits_in_the_journal_is_imported(tell: Teller, command: Command, tmp_path: Path) -> None:
    from tests.cli.world import NOW

    started = e.RunStarted(name="journalled", mode="pytest", cluster="demo", namespace="crucible")
    event = e.NewEvent(event_id="a" * 32, time=NOW, producer="test", payload=started, run_id="r" * 32)
    Journal(tmp_path / ".cleanup-scheduler" / "journal").add(event)
    assert command("ledger", "import").out == "1 events from the journal, 0 refused\n"
    assert command("runs", "--json").json[0]["name"] == "journalled"


def test_a_rebuilt_state_gives_the_same_report(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="failed")
    before = command("report", "last", "--json").json
    assert command("ledger", "rebuild").out == "4 events folded\n"
    after = command("report", "last", "--json").json
    assert {**after, "at": ""} == {**before, "at": ""}


def test_a_pruned_ledger_has_lost_the_old_run_and_still_verifies(tell: Teller, command: Command) -> None:
    ended_long_ago(tell)
    tell.run("0190ffff" + RUN[8:]).scope(JOB, outcome="failed", scope_id="new", run_id="0190ffff" + RUN[8:])
    assert command("ledger", "prune", "--older-than", "90d", "--dry-run").out.startswith("1 runs would go")
    assert len(command("runs", "--json").json) == 2
    assert command("ledger", "prune", "--older-than", "90d").out.startswith("1 runs removed, with 7 events")
    assert [each["run_id"] for each in command("runs", "--json").json] == ["0190ffff" + RUN[8:]]
    assert command("verify").code == 0


def test_old_logs_go_by_size(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"x" * 1000)
    assert command("ledger", "prune", "--logs-max-bytes", "0").out == "1 archived logs removed\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["--dry-run", "--logs-max-bytes", "1"], ["--older-than", "old"], ["--older-than", "9" * 30 + "d"]],
)
def test_a_prune_that_says_nothing_or_nonsense_is_refused(arguments: list[str], command: Command) -> None:
    assert command("ledger", "prune", *arguments).code == 2


def test_a_log_that_was_pruned_says_so(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"x\n")
    command("ledger", "prune", "--logs-max-bytes", "0")
    answer = command("logs", "job/evaluation-job-1")
    assert answer.code == 1
    assert "its log was pruned at" in answer.err
    assert "the archive was larger than 0 bytes" in answer.err


def test_the_roles_are_sql_that_postgresql_takes(command: Command, ledger_url: str) -> None:
    sql = command("ledger", "roles").out
    assert "INSERT" in sql
    if ledger_url.startswith("postgresql"):
        execute(ledger_url, sql)


def test_stdin_can_be_imported(
    tell: Teller, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell.run()
    dump = command("ledger", "export", "-").raw
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(dump)))
    assert run(["ledger", "import", "-", "--ledger", f"sqlite:///{tmp_path / 'fresh' / 'l.db'}"]) == 0
