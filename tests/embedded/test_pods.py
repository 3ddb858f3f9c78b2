"""Pods as local processes: what of a manifest counts here, and what is told when it cannot be done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cleanup_scheduler.testing import ClusterOptions, EmbeddedCluster

from tests.contracts.kubernetes.wire import Json
from tests.embedded.world import (
    NAMESPACE,
    PODS,
    World,
    alive,
    api_of,
    eventually,
    pod,
    shell,
    simulated,
)

Unique = Callable[[str], str]


def container(*command: str, **more: Any) -> Json:
    return {"name": "main", "image": "none", "command": list(command), **more}


def once(*containers: Json, **more: Any) -> Json:
    return {"restartPolicy": "Never", "containers": list(containers), **more}


def terminated(found: Json, index: int = 0) -> Json:
    state: Json = found["status"]["containerStatuses"][index]["state"]["terminated"]
    return state


def test_variables_are_expanded_in_commands_as_kubernetes_does(shared: World, unique: Unique) -> None:
    name = unique("expand")
    env = [
        {"name": "WHO", "value": "world"},
        {"name": "GREETING", "value": "hello $(WHO)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "TEST", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['test-id']"}}},
    ]
    main = container("echo", "$(GREETING)", "$$(WHO)", "$(UNKNOWN)", "$(POD)", "$(SPACE)", "$(TEST)", env=env)
    shared.run(name, once(main), labels={"test-id": "t1"})
    assert shared.log(name).text == f"hello world $(WHO) $(UNKNOWN) {name} {NAMESPACE} t1\n"


def test_python_is_this_interpreter_and_finds_this_cluster(shared: World, unique: Unique) -> None:
    name = unique("python")
    code = "import os, sys; print(sys.executable); print(os.environ['KUBECONFIG'])"
    shared.run(name, once(container("python", "-c", code)))
    assert shared.log(name).text.splitlines() == [sys.executable, str(shared.cluster.kubeconfig)]


def test_the_environment_of_the_tests_does_not_leak_into_pods(
    shared: World, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_TESTS", "leaked")
    name = unique("env")
    shared.run(name, once(container("env")))
    assert "leaked" not in shared.log(name).text


def test_a_working_folder_counts_and_one_that_is_missing_is_told(
    shared: World, unique: Unique, tmp_path: Path
) -> None:
    name, lost = unique("folder"), unique("folder")
    shared.run(name, once(container("pwd", workingDir=str(tmp_path))))
    assert shared.log(name).text.strip() == str(tmp_path)
    ended = terminated(shared.run(lost, once(container("pwd", workingDir="/no/such/folder"))))
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "/no/such/folder" in ended["message"]


def test_a_program_that_does_not_exist_is_a_start_error(shared: World, unique: Unique) -> None:
    found = shared.run(unique("missing"), once(container("no-such-program")))
    assert found["status"]["phase"] == "Failed"
    assert terminated(found)["reason"] == "StartError"
    assert '"no-such-program": executable file not found' in terminated(found)["message"]


def test_a_container_without_a_command_completes_at_once(shared: World, unique: Unique) -> None:
    name = unique("image")
    found = shared.run(name, once({"name": "main", "image": "none"}))
    assert found["status"]["phase"] == "Succeeded"
    assert shared.log(name).text == ""


def test_init_containers_run_in_order_before_the_others_and_a_failed_one_ends_the_pod(
    shared: World, unique: Unique, tmp_path: Path
) -> None:
    out, name, failing = tmp_path / "order", unique("init"), unique("init")

    def says(text: str, name: str) -> Json:
        return {"name": name, "image": "none", "command": ["sh", "-c", f"echo {text} >> {out}"]}

    shared.run(name, once(says("third", "main"), initContainers=[says("first", "a"), says("second", "b")]))
    assert out.read_text().split() == ["first", "second", "third"]
    breaks = {"name": "a", "image": "none", "command": ["false"]}
    found = shared.run(failing, once(says("never", "main"), initContainers=[breaks]))
    assert found["status"]["phase"] == "Failed"
    assert "never" not in out.read_text()


def test_a_failing_container_is_restarted_with_its_previous_log_until_it_succeeds(
    shared: World, unique: Unique, tmp_path: Path
) -> None:
    name, mark = unique("restart"), tmp_path / "mark"
    script = f"test -e {mark} && echo second && exit 0; touch {mark}; echo first; exit 3"
    found = shared.run(name, shell(script, restartPolicy="OnFailure"))
    [status] = found["status"]["containerStatuses"]
    assert (found["status"]["phase"], status["restartCount"]) == ("Succeeded", 1)
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert shared.log(name).text == "second\n"
    assert shared.log(name, previous="true").text == "first\n"


def test_a_signal_that_ends_a_process_is_told_as_128_and_its_number(shared: World, unique: Unique) -> None:
    found = shared.run(unique("signal"), shell("kill -KILL $$$$"))
    assert terminated(found)["exitCode"] == 137


def test_what_a_container_leaves_in_the_background_ends_with_it(
    shared: World, unique: Unique, tmp_path: Path
) -> None:
    shared.run(unique("background"), shell(f"sleep 1000 & echo $! > {tmp_path}/pid"))
    left = int((tmp_path / "pid").read_text())
    eventually(lambda: not alive(left), "the background process ended")


def test_a_log_is_whole_though_lines_are_long_and_the_last_one_has_no_end(
    shared: World, unique: Unique
) -> None:
    name = unique("long")
    code = "import sys; sys.stdout.write('x' * 100_000 + '\\nshort\\n' + 'end')"
    shared.run(name, once(container("python", "-c", code)))
    assert shared.log(name).text == "x" * 100_000 + "\nshort\nend"


def test_a_log_that_grows_past_its_limit_starts_again(
    shared: World, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleanup_scheduler.testing.logs.MAX_LOG_BYTES", 1_000)
    name = unique("rotated")
    shared.run(name, shell("for i in $(seq 1 100); do echo line $i; done"))
    lines = shared.log(name).text.splitlines()
    assert lines[-1] == "line 100"
    assert "line 1" not in lines


def test_a_host_path_is_the_same_path_here_or_is_refused(
    shared: World, unique: Unique, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("found")

    def mounting(at: str) -> Json:
        main = container("cat", f"{tmp_path}/file", volumeMounts=[{"name": "v", "mountPath": at}])
        return once(main, volumes=[{"name": "v", "hostPath": {"path": str(tmp_path)}}])

    name = unique("host")
    shared.run(name, mounting(str(tmp_path)))
    assert shared.log(name).text == "found"
    refused = terminated(shared.run(unique("host"), mounting("/elsewhere")))
    assert "only be mounted at the same path" in refused["message"]


def test_an_empty_dir_exists_while_its_pod_does(shared: World, unique: Unique, tmp_path: Path) -> None:
    name, folder = unique("empty"), tmp_path / "scratch"
    main = container("touch", f"{folder}/file", volumeMounts=[{"name": "v", "mountPath": str(folder)}])
    found = shared.run(name, once(main, volumes=[{"name": "v", "emptyDir": {}}]))
    assert found["status"]["phase"] == "Succeeded"
    assert (folder / "file").exists()
    shared.api.delete(f"{PODS}/{name}").ok(200)
    eventually(lambda: not folder.exists(), "the emptyDir removed")


def test_a_simulated_pod_ends_as_its_annotation_says_and_has_the_log_it_says(
    shared: World, unique: Unique
) -> None:
    annotation = {"cleanup-scheduler.test/simulate-logs": "all good"}
    names = {how: unique("simulated") for how in ("complete", "fail", "run")}
    for how, name in names.items():
        shared.api.post(PODS, simulated(name, how, **annotation)).ok(201)
    shared.until_phase(names["complete"], "Succeeded")
    shared.until_phase(names["fail"], "Failed")
    shared.until_phase(names["run"], "Running")
    assert shared.log(names["fail"]).text == "all good\n"
    shared.api.delete(f"{PODS}/{names['run']}").ok(200)
    shared.until_gone(f"{PODS}/{names['run']}")


def test_a_simulation_that_is_misspelt_is_refused(shared: World, unique: Unique) -> None:
    status = shared.api.post(PODS, simulated(unique("typo"), "finish")).refused(422, "Invalid")
    assert "supported values" in status["message"]


def test_pods_that_run_for_ever_do_not_keep_others_from_starting(tmp_path: Path) -> None:
    options = ClusterOptions(parallel_starts=1)
    with EmbeddedCluster(namespace=NAMESPACE, options=options) as cluster, api_of(cluster) as api:
        world = World(cluster, api)
        for number in range(4):
            api.post(PODS, pod(f"ever-{number}", shell("exec sleep 1000"))).ok(201)
        world.run("short", shell("echo done"))


def test_a_full_node_keeps_further_pods_pending_until_there_is_room() -> None:
    options = ClusterOptions(max_running_pods=1)
    with EmbeddedCluster(namespace=NAMESPACE, options=options) as cluster, api_of(cluster) as api:
        world = World(cluster, api)
        api.post(PODS, pod("first", shell("exec sleep 1000", terminationGracePeriodSeconds=1))).ok(201)
        world.until_phase("first", "Running")
        api.post(PODS, pod("second", shell("echo done"))).ok(201)

        def told() -> bool:
            conditions = world.pod("second")["status"].get("conditions", [])
            return any("Too many pods" in condition.get("message", "") for condition in conditions)

        eventually(told, "the reason why it waits")
        assert "nodeName" not in world.pod("second")["spec"]
        api.delete(f"{PODS}/first").ok(200)
        world.until_phase("second", "Succeeded")


def test_a_pod_that_is_deleted_before_its_turn_never_starts(tmp_path: Path) -> None:
    options = ClusterOptions(max_running_pods=1)
    with EmbeddedCluster(namespace=NAMESPACE, options=options) as cluster, api_of(cluster) as api:
        world = World(cluster, api)
        api.post(PODS, pod("first", shell("exec sleep 1000", terminationGracePeriodSeconds=1))).ok(201)
        world.until_phase("first", "Running")
        api.post(PODS, pod("second", shell(f"touch {tmp_path}/started"))).ok(201)
        api.delete(f"{PODS}/second").ok(200)
        world.until_gone(f"{PODS}/second")
        api.delete(f"{PODS}/first").ok(200)
        world.until_gone(f"{PODS}/first")
        world.run("third", shell("echo done"))
        assert not (tmp_path / "started").exists()
