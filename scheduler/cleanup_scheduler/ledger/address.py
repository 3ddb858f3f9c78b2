"""Which ledger a URL means. Refuses what cannot work, before anything is opened: unknown schemes, databases
in memory (other processes could not see them), SQLite on a network file system. Never shows a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from cleanup_scheduler.errors import LedgerUnavailable, SettingsError

_HINT: Final = "write sqlite:///path/to/ledger.db or postgresql://user:password@host:5432/database"
_MOUNTS = Path("/proc/self/mountinfo")
# WAL keeps its index in memory shared between processes of one host (sqlite.org/wal.html)
_NETWORK_FILE_SYSTEMS: Final = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "9p", "afs", "ceph", "lustre", "gfs2", "ocfs2",
    "glusterfs", "beegfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.ceph",
})  # fmt: skip
_PASSWORD: Final = re.compile(r"(?<=//)([^/@:]*):.*(?=@)|(?<=[?&]password=)[^&]*")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """``url`` is for the driver, ``shown`` for people; ``path`` is set for SQLite only."""

    dialect: Literal["sqlite", "postgresql"]
    url: str
    shown: str
    path: Path = Path()


def hide_password(url: str) -> str:
    """The URL as it may be printed."""
    return _PASSWORD.sub(lambda found: f"{found[1]}:***" if found[1] is not None else "***", url)


def parse_address(url: str) -> Address:
    """The address that ``url`` means; raises :class:`SettingsError`."""
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return _sqlite(url)
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return _postgresql(url)
    raise SettingsError(
        f"the ledger's URL {hide_password(url)!r} has the unknown scheme {scheme!r}", hint=_HINT
    )


def _sqlite(url: str) -> Address:
    path = url.removeprefix("sqlite:///")
    if path == url or not path or path == ":memory:" or "?" in path or path.endswith("/"):
        raise SettingsError(f"the ledger's URL {url!r} names no file", hint=_HINT)
    file = Path(unquote(path)).expanduser().absolute()
    kind = file_system_of(file)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise SettingsError(
            f"{file} lies on a network file system ({kind}), where several hosts would corrupt it",
            hint="use a PostgreSQL ledger, or a folder on a local disk",
        )
    return Address(dialect="sqlite", url=f"sqlite:///{file}", shown=f"sqlite:///{file}", path=file)


def _postgresql(url: str) -> Address:
    shown = hide_password(url)
    try:
        parts = urlsplit(url)
        _ = parts.port
        query = parse_qsl(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True)
    except ValueError as error:
        reason = str(error).replace(url, shown)
        raise SettingsError(f"the ledger's URL {shown!r} is malformed: {reason}", hint=_HINT) from None
    if not parts.path.strip("/") or not url.partition(":")[2].startswith("//"):
        raise SettingsError(f"the ledger's URL {shown!r} names no database", hint=_HINT)
    if not parts.hostname and not any(key == "host" for key, _ in query):
        raise SettingsError(f"the ledger's URL {shown!r} names no host", hint=_HINT)
    return Address(
        dialect="postgresql", url="postgresql+psycopg:" + url.partition(":")[2], shown=shown, path=Path()
    )


def file_system_of(file: Path, mounts: Path | None = None) -> str:
    """The type of the file system that ``file`` lies on; empty where the system does not tell."""
    try:
        lines = (mounts or _MOUNTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    real = file.resolve()
    for line in lines:
        # proc(5): … mount point is the fifth field; after " - " the file system's type
        before, _, after = line.partition(" - ")
        mount = before.split()[4].replace("\\040", " ")
        if len(mount) >= len(best) and real.is_relative_to(mount):
            best, kind = mount, after.split()[0]
    return kind


def make_folder(folder: Path) -> None:
    """The ledger's folder, which git ignores by itself when it is we who make it."""
    if folder.is_dir():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise LedgerUnavailable(
            f"the ledger's folder {folder} cannot be made: {error.strerror}",
            hint="see that the folder above it may be written to, or set ledger_url",
        ) from error
