"""The Job of a suite: the pod template that somebody gave, or a plain one, with pytest's command in it.

Pure but for reading the template's file. Never puts a password into a pod.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import yaml
from cleanup_scheduler.errors import SettingsError

from pytest_cleanup_scheduler.orchestrator.suites import Suite

CONTAINER: Final = "suite"
DEADLINE_MARGIN_SECONDS: Final = 60
Json = dict[str, Any]


class SuitePod(NamedTuple):
    """A pod template, checked; ``container`` is the index of the one that runs pytest."""

    template: Json
    container: int

    @property
    def main(self) -> Json:
        """The container that runs pytest."""
        found: Json = self.template["spec"]["containers"][self.container]
        return found

    def writes_to(self, path: PurePosixPath) -> bool:
        """Whether a volume that outlives the pod is mounted, writable, over ``path``."""
        lasting = {v["name"] for v in self.template["spec"].get("volumes") or [] if "emptyDir" not in v}
        return any(
            mount.get("name") in lasting
            and not mount.get("readOnly")
            and path.is_relative_to(mount["mountPath"])
            for mount in self.main.get("volumeMounts") or []
        )


def read_template(file: Path) -> SuitePod:
    """A PodTemplateSpec (or PodTemplate, or Pod) in YAML; raises :class:`SettingsError`."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"suite_pod_template {file}: {reason}", hint="name a readable YAML file"
        ) from error
    template = document.get("template", document) if isinstance(document, dict) else None
    spec = template.get("spec") if isinstance(template, dict) else None
    containers = spec.get("containers") if isinstance(spec, dict) else None
    well_formed = isinstance(containers, list) and all(isinstance(c, dict) for c in containers)
    if not isinstance(template, dict) or not containers or not well_formed:
        raise SettingsError(
            f"suite_pod_template {file}: there is no spec.containers", hint="write a PodTemplateSpec"
        )
    named = [n for n, container in enumerate(containers) if container.get("name") == CONTAINER]
    return SuitePod({"metadata": template.get("metadata") or {}, "spec": spec}, named[0] if named else 0)


def plain_template(image: str, root: Path, files: Sequence[Path]) -> SuitePod:
    """A pod on a node that shares this host's file system: the checkout and ``files`` at their own paths."""
    mounts = [root, *(file for file in files if not file.is_relative_to(root))]
    names = [f"host-{n}" for n, _ in enumerate(mounts)]
    spec = {
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "workingDir": str(root),
                "volumeMounts": [
                    {"name": n, "mountPath": str(path)} for n, path in zip(names, mounts, strict=True)
                ],
            }
        ],
        "volumes": [
            {"name": n, "hostPath": {"path": str(path)}} for n, path in zip(names, mounts, strict=True)
        ],
    }
    return SuitePod({"metadata": {}, "spec": spec}, 0)


def suite_job(
    name: str,
    suite: Suite,
    pod: SuitePod,
    *,
    pytest_arguments: Sequence[str],
    environment: Mapping[str, str],
    asked: Mapping[str, str],
    timeout_seconds: float,
) -> Json:
    """The manifest. The template's own command is the interpreter; its variables are stronger than ours
    (``environment``) and weaker than those that somebody asked for on the command line (``asked``)."""
    labels = {"app.kubernetes.io/managed-by": "cleanup-scheduler", "cleanup-scheduler/suite": suite.name}
    template = copy.deepcopy(pod.template)
    template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), **labels}
    template["spec"]["restartPolicy"] = "Never"
    container = template["spec"]["containers"][pod.container]
    container.setdefault("name", CONTAINER)
    container["command"] = container.get("command") or ["python"]
    container["args"] = ["-m", "pytest", suite.target, *pytest_arguments]
    variables = {key: {"name": key, "value": value} for key, value in environment.items()}
    variables |= {variable.get("name"): variable for variable in container.get("env") or []}
    variables |= {key: {"name": key, "value": value} for key, value in asked.items()}
    container["env"] = list(variables.values())
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            # for the case that the orchestrator is not there any more to stop it
            "activeDeadlineSeconds": int(timeout_seconds) + DEADLINE_MARGIN_SECONDS,
            "template": template,
        },
    }
