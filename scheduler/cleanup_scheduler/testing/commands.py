"""What a container's manifest says to run, made into an argument list and an environment for a local
process.

There is no image: the program is looked up on this machine, ``python`` is this interpreter, and a mounted
volume is the same path on this machine.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from cleanup_scheduler.testing.objects import Object
from cleanup_scheduler.testing.selectors import field_value

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "PYTHONPATH")
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class NotRunnable(Exception):
    """A container cannot be started here; the message says why and what to change."""


@dataclass(frozen=True, slots=True)
class Command:
    argv: list[str]
    env: dict[str, str]
    folder: str | None


def command_of(pod: Object, container: Object, cluster_env: dict[str, str]) -> Command | None:
    """The command of a container; None when its manifest names none. Raises NotRunnable."""
    env = _base_environment(pod) | cluster_env
    for entry in container.get("env") or ():
        env[entry["name"]] = expand(_env_value(pod, entry), env)
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    if not words:
        return None
    argv = [expand(str(word), env) for word in words]
    if argv[0] in ("python", "python3"):
        argv[0] = sys.executable
    folder = container.get("workingDir") or None
    if folder and not Path(folder).is_dir():
        raise NotRunnable(f"workingDir {folder!r} does not exist on this machine")
    if shutil.which(argv[0], path=env.get("PATH")) is None:
        raise NotRunnable(f'exec: "{argv[0]}": executable file not found in $PATH')
    return Command(argv, env, folder)


def expand(text: str, env: dict[str, str]) -> str:
    """Kubernetes' ``$(NAME)``; an unknown name stays as it is written, ``$$`` is one dollar."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return env.get(found[2], found[0])

    return _REFERENCE.sub(replaced, text)


def _base_environment(pod: Object) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {"HOSTNAME": pod["metadata"]["name"]}


def _env_value(pod: Object, entry: Object) -> str:
    if entry.get("value") is not None:
        return str(entry["value"])
    field = ((entry.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath", "")
    if keyed := _KEYED_FIELD.fullmatch(field):
        return str((pod["metadata"].get(keyed[1]) or {}).get(keyed[2], ""))
    return field_value(pod, field) if field else ""


def prepare_volumes(pod: Object, container: Object) -> list[Path]:
    """Make the folders of emptyDir mounts. Returns those that were made; raises NotRunnable for what cannot
    be.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    made = []
    for mount in container.get("volumeMounts") or ():
        volume = volumes.get(mount["name"], {})
        path = Path(mount["mountPath"])
        if "hostPath" in volume and volume["hostPath"].get("path") != str(path):
            host_path = volume["hostPath"].get("path")
            raise NotRunnable(
                f"hostPath {host_path!r} can only be mounted at the same path here, not at {str(path)!r}"
            )
        if "emptyDir" in volume and not path.exists():
            try:
                path.mkdir(parents=True)
            except OSError as error:
                raise NotRunnable(f"emptyDir at {str(path)!r}: {error.strerror}") from error
            made.append(path)
    return made
