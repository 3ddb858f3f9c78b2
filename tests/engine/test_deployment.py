"""deploy/worker.yaml: the API takes it, and it says what the program understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cleanup_scheduler.__main__ import run
from cleanup_scheduler.settings import Settings, load_settings

from tests.engine.conftest import MakeWorld

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def deployment() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "worker.yaml").read_text(encoding="utf-8"))
    return document


@pytest.fixture
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


async def test_the_api_takes_it(deployment: dict[str, Any], make_world: MakeWorld) -> None:
    async with make_world() as w:
        deployment["metadata"]["namespace"] = w.namespace
        deployment["spec"]["replicas"] = 0
        made = await w.cluster.create(deployment, w.namespace)
        assert made.ref.name == "cleanup-scheduler"


def test_it_runs_as_the_account_that_has_the_rights(deployment: dict[str, Any], pod: dict[str, Any]) -> None:
    rights = list(yaml.safe_load_all((DEPLOY / "rbac.yaml").read_text(encoding="utf-8")))
    accounts = {
        (one["metadata"]["namespace"], one["metadata"]["name"])
        for one in rights
        if one["kind"] == "ServiceAccount"
    }
    assert (deployment["metadata"]["namespace"], pod["serviceAccountName"]) in accounts


def test_the_program_understands_its_arguments_and_its_environment(
    pod: dict[str, Any], tmp_path: Path
) -> None:
    [worker] = pod["containers"]
    assert worker["args"][0] == "run"
    options = run.make_context("run", worker["args"][1:]).params
    ports = {port["name"]: port["containerPort"] for port in worker["ports"]}
    assert (options["health_host"], options["health_port"]) == ("0.0.0.0", ports["health"])  # noqa: S104
    environment = {one["name"]: one.get("value", "postgresql://db/ledger") for one in worker["env"]}
    loaded = load_settings(tmp_path, environment=environment)
    assert len(loaded.sources) == len(environment)


def test_the_probes_ask_what_they_are_meant_to_ask(pod: dict[str, Any]) -> None:
    [worker] = pod["containers"]
    asked = {name: worker[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_it_is_given_the_time_to_drain(pod: dict[str, Any]) -> None:
    settings = Settings()
    needs = settings.shutdown_seconds + settings.ledger_timeout_seconds
    assert pod["terminationGracePeriodSeconds"] > needs
