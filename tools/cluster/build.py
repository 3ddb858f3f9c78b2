"""Builds the programs that are missing, from the sources in the Go module registry. It has no Go code of
its own and refuses to leave a half-written program: each is linked beside its place and moved there whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.cluster.errors import BuildFailed
from tools.cluster.programs import GoModule, Shelf


def build_missing(shelf: Shelf, modules: tuple[GoModule, ...]) -> dict[str, float]:
    """Build what is not found; returns the seconds that each took, by Go module and program."""
    if not shelf.missing(modules):
        return {}
    took: dict[str, float] = {}
    with only_one_builder(shelf.cache):
        for module, missing in groupby(shelf.missing(modules), key=lambda pair: pair[0].name):
            for owner, program in missing:
                print(f"building {program} {owner.version} (once; kept in {shelf.cache})", flush=True)
                began = time.monotonic()
                build(owner, program, shelf.folder(owner))
                took[f"{module}/{program}"] = time.monotonic() - began
    return took


def build(module: GoModule, program: str, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".building-", dir=into) as unfinished:
        target = Path(unfinished) / program
        command = ["nice", go(), "build", "-o", str(target), "-ldflags", module.linker_flags]
        command.append(module.packages[program])
        done = subprocess.run(command, cwd=module.folder, env=environment(), check=False)
        if done.returncode != 0:
            raise BuildFailed(
                f"go build of {program} failed (exit code {done.returncode}): its words are above. "
                f"Running the same command again goes on where it stopped"
            )
        target.replace(into / program)


def go() -> str:
    found = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if not found:
        raise BuildFailed(
            "the real cluster's programs are built with Go, and there is no go on PATH: install Go 1.26, "
            "or set KUBEBUILDER_ASSETS to a folder that has the programs"
        )
    return found


def environment() -> dict[str, str]:
    """Go as the user has it, but it may neither change go.mod nor look at the checkout's version control."""
    return {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


@contextmanager
def only_one_builder(cache: Path) -> Iterator[None]:
    """Two checkouts that start at once share one build instead of doing it twice."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
