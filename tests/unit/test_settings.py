"""Where settings come from, which of them wins, and what is said about one that nobody knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from cleanup_scheduler.errors import SettingsError
from cleanup_scheduler.settings import load_settings


def configure(folder: Path, text: str) -> Path:
    file = folder / "pyproject.toml"
    file.write_text(f"[tool.cleanup-scheduler]\n{text}\n")
    return file


def test_options_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = configure(tmp_path, "namespace = 'a'\ncontext = 'a'\ncluster = 'a'")
    environment = {"CLEANUP_SCHEDULER_CONTEXT": "b", "CLEANUP_SCHEDULER_CLUSTER": "b"}

    loaded = load_settings(tmp_path, environment=environment, options={"cluster": "c", "namespace": None})

    assert (loaded.settings.namespace, loaded.settings.context, loaded.settings.cluster) == ("a", "b", "c")
    assert loaded.sources == {
        "namespace": str(file),
        "context": "CLEANUP_SCHEDULER_CONTEXT",
        "cluster": "option",
    }


def test_the_nearest_file_counts_and_the_state_goes_beside_it(tmp_path: Path) -> None:
    configure(tmp_path, "namespace = 'outer'")
    inner = tmp_path / "inner"
    (inner / "deep").mkdir(parents=True)
    configure(inner, "namespace = 'inner'")

    loaded = load_settings(inner / "deep", environment={})

    assert loaded.settings.namespace == "inner"
    assert loaded.ledger_url == f"sqlite:///{inner / '.cleanup-scheduler' / 'ledger.db'}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("namespce = 'x'", "did you mean 'namespace'?"),
        ("wait_after_seconds = 'soon'", "'wait_after_seconds' is 'soon'"),
        ("wait_after_seconds = -1", "it cannot be negative"),
        ("max_requests_per_second = -1", "it cannot be negative"),
        ("max_requests_per_second_all_workers = -1", "it cannot be negative"),
        ("max_requests_per_second = inf", "it must be a finite number"),
        ("tick_seconds = nan", "it must be a finite number"),
        ("resource_cleanup = 'everything'", "use one of: none, pods, all"),
        ("= 1", "cannot be read"),
        ("selector = 'app in (a'", "setting 'selector': label selector 'app in .a': cannot read"),
        ("age_selector = '=x'", "setting 'age_selector': label selector '=x': cannot read"),
        ("age_hours = -1", "it cannot be negative"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = configure(tmp_path, text)

    with pytest.raises(SettingsError, match=said) as raised:
        load_settings(tmp_path, environment={})

    assert str(file) in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_misspelt_variable_is_named_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CLEANUP_SCHEDULER_NAMESPCE.*did you mean 'namespace'"):
        load_settings(tmp_path, environment={"CLEANUP_SCHEDULER_NAMESPCE": "x"})


@pytest.mark.parametrize("name", ["RUN_ID", "TEST_KUBECONFIG", "TEST_ETCD", "CLUSTER_STATE"])
def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path, name: str) -> None:
    assert load_settings(tmp_path, environment={f"CLEANUP_SCHEDULER_{name}": "x"}).sources == {}
