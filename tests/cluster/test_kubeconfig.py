"""Which cluster is meant, and one clear line when that cannot be known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cleanup_scheduler.cluster import ClusterName, connect, current_cluster
from cleanup_scheduler.cluster.kubeconfig import find_target
from cleanup_scheduler.errors import ClusterUnavailable, SettingsError
from cleanup_scheduler.settings import Settings

EMPTY: dict[str, str] = {"HOME": "/nonexistent"}


def write(file: Path, **changes: Any) -> Path:
    """A kubeconfig with two contexts, changed as told."""
    document = {
        "apiVersion": "v1",
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "crucible"}},
            {"name": "two", "context": {"cluster": "c", "user": "u"}},
        ],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
    }
    document.update(changes)
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def test_the_current_context_names_the_cluster_and_the_namespace(tmp_path: Path) -> None:
    settings = Settings(kubeconfig=str(write(tmp_path / "k")))
    assert current_cluster(settings, environment=EMPTY) == ClusterName("one", "crucible")


def test_settings_override_context_name_and_namespace(tmp_path: Path) -> None:
    file = str(write(tmp_path / "k"))
    two = Settings(kubeconfig=file, context="two")
    assert current_cluster(two, environment=EMPTY) == ClusterName("two", "default")
    named = Settings(kubeconfig=file, context="two", cluster="staging", namespace="tests")
    assert current_cluster(named, environment=EMPTY) == ClusterName("staging", "tests")


def test_of_several_files_the_first_that_says_something_wins(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a", contexts=[{"name": "one", "context": {"cluster": "c", "namespace": "first"}}]
    )
    second = write(tmp_path / "b", **{"current-context": "two"})
    listed = {"KUBECONFIG": f"{tmp_path / 'missing'}:{first}:{second}"}
    assert current_cluster(Settings(), environment=listed) == ClusterName("one", "first")
    assert current_cluster(Settings(context="two"), environment=listed).name == "two"


def test_paths_in_a_kubeconfig_are_relative_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    write(tmp_path / "k", users=[{"name": "u", "user": {"tokenFile": "token"}}])
    target = find_target(Settings(kubeconfig=str(tmp_path / "k")), environment=EMPTY)
    assert target.document is not None
    assert target.document["users"][0]["user"]["tokenFile"] == str(tmp_path / "token")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"current-context": ""}, "has no current context (set `context` to one of: one, two)"),
        ({"current-context": "three"}, "has no context 'three' (it has: one, two)"),
        ({"clusters": []}, "has no cluster 'c' (it has: none)"),
        ({"clusters": "c"}, "'clusters' is not a list of names with a 'cluster' each"),
        ({"contexts": [{"context": {}}]}, "'contexts' is not a list of names"),
        ({"clusters": [{"name": "c", "cluster": {}}]}, "the server of context 'one' is ''"),
        (
            {"clusters": [{"name": "c", "cluster": {"server": "localhost"}}]},
            "must look like https://HOST:PORT",
        ),
        ({"users": [{"name": "u", "user": {"tokenFile": "gone"}}]}, "tokenFile of user 'u' does not exist"),
        (
            {"contexts": [{"name": "one", "context": {"cluster": "c", "namespace": "No_Good"}}]},
            "'No_Good' is not a namespace",
        ),
    ],
)
def test_a_wrong_kubeconfig_is_one_line_that_names_the_file(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    file = write(tmp_path / "k", **changes)
    with pytest.raises(SettingsError) as caught:
        current_cluster(Settings(kubeconfig=str(file)), environment=EMPTY)
    assert expected in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "- a list", "", "\x00", "a: b: c"])
def test_a_file_that_is_no_kubeconfig_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "k"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        current_cluster(Settings(kubeconfig=str(file)), environment=EMPTY)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_kubeconfig_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="/no/such does not exist"):
        current_cluster(Settings(kubeconfig="/no/such"), environment=EMPTY)
    with pytest.raises(SettingsError, match=r"it is what \$KUBECONFIG names"):
        current_cluster(Settings(), environment={"KUBECONFIG": "/no/such", **EMPTY})
    with pytest.raises(SettingsError, match=r"\$KUBECONFIG is not set and ~/.kube/config does not exist"):
        current_cluster(Settings(), environment=EMPTY)


def test_inside_a_pod_the_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("crucible\n")
    monkeypatch.setattr("cleanup_scheduler.cluster.kubeconfig._SERVICE_ACCOUNT", tmp_path)
    pod = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443", **EMPTY}
    target = find_target(Settings(), environment=pod)
    assert target.name == ClusterName("in-cluster", "crucible")
    assert target.server == "https://[fd00::1]:443"


def test_naming_the_cluster_does_not_import_the_client(tmp_path: Path) -> None:
    program = (
        "import sys; from cleanup_scheduler.cluster import current_cluster, connect;"
        "from cleanup_scheduler.settings import Settings;"
        f"print(current_cluster(Settings(kubeconfig={str(write(tmp_path / 'k'))!r})).name,"
        "sorted({'kubernetes', 'aiohttp', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "one []\n"


async def test_a_cluster_that_refuses_the_connection_is_named_with_what_to_look_at(nowhere: Path) -> None:
    async with connect(Settings(kubeconfig=str(nowhere))) as cluster:
        with pytest.raises(ClusterUnavailable) as caught:
            await cluster.version()
    assert "http://127.0.0.1:1 cannot be reached" in str(caught.value)
    assert str(nowhere) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_credentials_that_cannot_be_read_are_a_settings_error(tmp_path: Path) -> None:
    broken = [
        {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": "bm8="}}
    ]
    file = write(tmp_path / "k", clusters=broken)
    with pytest.raises(SettingsError) as caught:
        async with connect(Settings(kubeconfig=str(file))):
            pass
    assert str(file) in str(caught.value)
    assert "context 'one'" in str(caught.value)
    assert "\n" not in str(caught.value)
