"""Migrations: by many processes at once, killed half-way, from every revision, and from the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from cleanup_scheduler.errors import LedgerNotMigrated, LedgerTooNew
from cleanup_scheduler.ledger import migrate, open_ledger, revisions
from cleanup_scheduler.ledger.migrating import migration_connection
from cleanup_scheduler.ledger.schema import METADATA
from sqlalchemy.engine import Connection

from tests.databases import DATABASES, postgres_ledger, python
from tests.ledger.samples import opened

TOGETHER = """
import sys
from cleanup_scheduler.ledger import migrate, open_ledger
from tests.ledger.samples import opened
print("ready", flush=True)
sys.stdin.readline()
if not sys.argv[1].startswith("sqlite"):
    migrate(sys.argv[1])
with open_ledger(sys.argv[1], timeout_seconds=60) as ledger:
    ledger.append(opened(sys.argv[2]))
    print(ledger.ledger_id)
"""
STOP_HALF_WAY = """
import sys, alembic.op
from cleanup_scheduler.ledger import migrate
calls = []
for name in ("create_table", "create_index", "execute"):
    def counted(*args, real=getattr(alembic.op, name), **options):
        real(*args, **options)
        calls.append(1)
        if len(calls) == int(sys.argv[2]):
            print("half-way", flush=True)
            sys.stdin.readline()
    setattr(alembic.op, name, counted)
migrate(sys.argv[1])
"""
LATER = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "8000", "{newest}"
def upgrade():
    op.create_table("later", sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that nobody has migrated."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        with postgres_ledger(migrated=False) as url:
            yield url


def on(url: str, work: Any) -> Any:
    """Do ``work`` on a connection of the migration's kind."""
    with migration_connection(url) as connection:
        return work(connection)


def differences(connection: Connection) -> list[Any]:
    """What Alembic would still have to do to make the declared schema."""
    return list(compare_metadata(MigrationContext.configure(connection), METADATA))


def test_the_migrated_schema_equals_the_declared_one(empty: str) -> None:
    assert migrate(empty) == revisions.NEWEST
    assert on(empty, differences) == []

    def keys(connection: Connection) -> dict[str, list[str]]:
        inspector = sa.inspect(connection)
        return {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in METADATA.tables}

    assert on(empty, keys) == {
        name: [c.name for c in table.primary_key] for name, table in METADATA.tables.items()
    }


def test_a_missing_index_would_be_noticed(empty: str) -> None:
    migrate(empty)
    on(empty, lambda connection: connection.execute(sa.text("DROP INDEX runs_open")))
    assert "runs_open" in str(on(empty, differences))


def test_migrating_twice_changes_nothing(empty: str) -> None:
    migrate(empty)
    with open_ledger(empty) as ledger:
        ledger.append(opened("s1"))
        assert migrate(empty) == revisions.NEWEST
        assert [stored.scope_id for stored in ledger.read()] == ["s1"]


def test_the_program_knows_the_revisions_that_are_there() -> None:
    scripts = ScriptDirectory(str(revisions.migrations_folder()))
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == revisions.KNOWN


@pytest.mark.parametrize("revision", revisions.KNOWN)
def test_every_revision_ever_released_can_be_upgraded(empty: str, revision: str) -> None:
    def to_it(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(revisions.migrations_folder()))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    on(empty, to_it)
    assert migrate(empty) == revisions.NEWEST
    with open_ledger(empty) as ledger:
        assert ledger.append(opened("s1")) == [1]


def test_eight_processes_at_once_make_one_ledger(empty: str) -> None:
    processes = [python(TOGETHER, empty, f"s{number}") for number in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        said.append(process.communicate(timeout=60)[0].strip())
        assert process.returncode == 0
    with open_ledger(empty) as ledger:
        assert set(said) == {ledger.ledger_id}
        assert len(ledger.read()) == 8


@pytest.mark.parametrize("calls", [1, 6, 14, 21, 22, 26])
def test_a_migration_killed_half_way_leaves_nothing_behind(empty: str, calls: int) -> None:
    process = python(STOP_HALF_WAY, empty, str(calls))
    assert process.stdout is not None
    assert process.stdout.readline() == "half-way\n"
    process.kill()
    process.communicate()
    assert on(empty, lambda connection: sa.inspect(connection).get_table_names()) == []
    assert migrate(empty) == revisions.NEWEST
    assert on(empty, differences) == []
    with open_ledger(empty) as ledger:
        assert ledger.append(opened("s1")) == [1]


@pytest.fixture
def later_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer program, with a revision more."""
    folder = tmp_path / "migrations"
    copytree(revisions.migrations_folder(), folder)
    (folder / "versions" / "8000_later.py").write_text(LATER.replace("{newest}", revisions.NEWEST))
    monkeypatch.setattr(revisions, "migrations_folder", lambda: folder)
    monkeypatch.setattr(revisions, "KNOWN", (*revisions.KNOWN, "8000"))
    monkeypatch.setattr(revisions, "NEWEST", "8000")


def test_a_newer_program_upgrades_an_older_ledger(empty: str, request: pytest.FixtureRequest) -> None:
    reached = migrate(empty)
    with open_ledger(empty) as ledger:
        ledger.append(opened("s1"))
    request.getfixturevalue("later_revision")
    if empty.startswith("postgresql"):
        with pytest.raises(LedgerNotMigrated, match=rf"revision {reached}.*8000.*cleanup-scheduler migrate"):
            open_ledger(empty)
        assert migrate(empty) == "8000"
    with open_ledger(empty) as ledger:
        assert ledger.append(opened("s2")) == [2]
    assert "later" in on(empty, lambda connection: sa.inspect(connection).get_table_names())


def test_a_ledger_of_a_newer_program_is_refused(empty: str) -> None:
    migrate(empty)
    on(
        empty,
        lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")),
    )
    for attempt in (open_ledger, migrate):
        with pytest.raises(LedgerTooNew, match=r"9999.*upgrade cleanup-scheduler") as caught:
            attempt(empty)
        assert caught.value.exit_code == 2


def test_alembic_by_hand_uses_the_same_guarded_connection(empty: str) -> None:
    arguments = ["-m", "alembic", "-x", f"url={empty}", "upgrade", "head"]
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    with open_ledger(empty) as ledger:
        assert ledger.append(opened("s1")) == [1]


def test_the_wheel_brings_its_migrations(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "import sys; from cleanup_scheduler.ledger import migrate, revisions;"
        "print(revisions.__file__, migrate(sys.argv[1]))"
    )
    process = python(
        code, f"sqlite:///{tmp_path}/ledger.db", environment={"PYTHONPATH": str(tmp_path / "installed")}
    )
    said = process.communicate(timeout=60)[0]
    assert said.startswith(str(tmp_path / "installed"))
    assert said.split()[-1] == revisions.NEWEST


def test_the_ledgers_own_folder_is_ignored_by_git(tmp_path: Path) -> None:
    open_ledger(f"sqlite:///{tmp_path}/state/ledger.db").close()
    assert (tmp_path / "state" / ".gitignore").read_text() == "*\n"
    open_ledger(f"sqlite:///{tmp_path}/ledger.db").close()
    assert not (tmp_path / ".gitignore").exists()
