"""The parts of the real cluster's tools that need no cluster: which program is taken, which cluster is meant,
what the audit log says.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clusters.audit import AuditedDelete, AuditLog, BadAuditLog, Follower, by_agent, compare, parse
from tests.clusters.node_pods import outermost, real_node_pod_template
from tests.clusters.real import RealCluster, real_cluster
from tests.under_test import AUDIT_LOG, KUBECONFIG, audit_reader
from tools.cluster import build, cgroups, control_plane, facts, lifecycle, node, processes, programs
from tools.cluster.errors import BuildFailed
from tools.cluster.facts import Facts
from tools.cluster.image import write_images
from tools.cluster.places import HERE, STATE, Places
from tools.cluster.programs import CONTROL_PLANE, ETCD, KUBELET, KUBERNETES, REAL_NODE, Shelf

# ---- programs ---------------------------------------------------------------------------------------------


def program(file: Path, says: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.delenv(programs.ASSETS, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return Shelf(tmp_path / "cache")


def test_every_module_states_its_tools_and_names_no_address_but_module_paths() -> None:
    for module in CONTROL_PLANE + REAL_NODE:
        text = (module.folder / "go.mod").read_text()
        for package in module.packages.values():
            assert re.search(rf"^(tool )?\s*{re.escape(package)}$", text, re.MULTILINE), (
                f"{package} is no tool"
            )
        assert f" v{module.version}" in text
        for file in ("go.mod", "go.sum"):
            assert "://" not in (module.folder / file).read_text()


def test_the_staging_modules_are_taken_from_the_registry_in_the_version_of_kubernetes() -> None:
    text = (KUBERNETES.folder / "go.mod").read_text()
    replaced = re.findall(r"^\tk8s.io/(\S+) => k8s.io/(\S+) (\S+)$", text, re.MULTILINE)
    assert len(replaced) >= 30
    assert {(name == other, version) for name, other, version in replaced} == {(True, "v0.37.2")}


def test_the_digest_changes_with_the_sums_the_flags_and_nothing_else(tmp_path: Path) -> None:
    def digest(sums: str, flag: str) -> str:
        class Somewhere(programs.GoModule):
            folder = tmp_path

        (tmp_path / "go.mod").write_text("module x")
        (tmp_path / "go.sum").write_text(sums)
        return Somewhere("x", "1.2.3", {}, {"version": flag}).digest()

    first = digest("a", "1")
    assert digest("a", "1") == first
    assert len({first, digest("b", "1"), digest("a", "2")}) == 3


def test_kubelet_and_control_plane_share_one_folder(shelf: Shelf) -> None:
    assert shelf.folder(KUBELET) == shelf.folder(KUBERNETES)


def test_the_users_assets_come_before_the_cache_and_the_cache_before_path(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = program(tmp_path / "path" / "etcd", "etcd Version: 3.7.0")
    assert shelf.find(ETCD, "etcd") == on_path
    cached = program(shelf.folder(ETCD) / "etcd", "whatever")
    assert shelf.find(ETCD, "etcd") == cached
    named = program(tmp_path / "assets" / "etcd", "etcd Version: 3.7.9")
    monkeypatch.setenv(programs.ASSETS, str(named.parent))
    assert shelf.find(ETCD, "etcd") == named


@pytest.mark.parametrize("says", ["etcd Version: 3.6.1", "etcd Version: 13.7.3", "no version at all"])
def test_a_program_of_another_minor_version_is_not_taken(shelf: Shelf, tmp_path: Path, says: str) -> None:
    program(tmp_path / "path" / "etcd", says)
    assert shelf.find(ETCD, "etcd") is None
    assert (ETCD, "etcd") in shelf.missing((ETCD,))


def test_a_program_that_cannot_run_is_not_taken(shelf: Shelf, tmp_path: Path) -> None:
    broken = program(tmp_path / "path" / "etcd", "etcd Version: 3.7.3")
    broken.write_bytes(b"\x7fELF not really")
    assert shelf.find(ETCD, "etcd") is None


# ---- building ---------------------------------------------------------------------------------------------


def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    go = program(tmp_path / "path" / "go", "")
    go.write_text(f"#!/bin/sh\n{body}\n")
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")


def test_a_build_that_fails_leaves_no_program_behind(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(tmp_path, monkeypatch, 'echo half > "$3"; exit 1')
    with pytest.raises(BuildFailed, match="go build of etcd failed"):
        build.build_missing(shelf, (ETCD,))
    assert list(shelf.folder(ETCD).iterdir()) == []


def test_a_build_that_succeeds_puts_the_whole_program_there_once(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(tmp_path, monkeypatch, 'echo whole > "$3"; echo x >> ' + str(tmp_path / "builds"))
    assert list(build.build_missing(shelf, (ETCD,))) == ["etcd/etcd"]
    assert build.build_missing(shelf, (ETCD,)) == {}
    assert (shelf.folder(ETCD) / "etcd").read_text() == "whole\n"
    assert (tmp_path / "builds").read_text() == "x\n"


# ---- configuration ----------------------------------------------------------------------------------------


def test_the_written_configuration_has_every_name_filled_in_and_listens_on_loopback(tmp_path: Path) -> None:
    here = Places(tmp_path / "state")
    control_plane.write_config(here)
    documents = list(yaml.safe_load_all((here.config / "kwok.yaml").read_text()))
    assert documents[0]["options"]["bindAddress"] == "127.0.0.1"
    for file in here.config.iterdir():
        assert not re.search(r"\$[A-Z]", file.read_text()), f"{file.name} has an unfilled name"


def test_the_kubelet_serves_only_the_api_server(tmp_path: Path) -> None:
    text = control_plane.read("kubelet.yaml")
    config = yaml.safe_load(re.sub(r"\$([A-Z_]+)", r"\1", text))
    assert config["address"] == "127.0.0.1"
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authentication"]["x509"] == {"clientCAFile": "PKI/ca.crt"}


def test_deletes_are_logged_with_their_bodies_except_for_those_of_controllers() -> None:
    rules = yaml.safe_load(control_plane.read("audit-policy.yaml"))["rules"]
    of_controllers = [rule for rule in rules if "userGroups" in rule]
    assert {group for rule in of_controllers for group in rule["userGroups"]} == {
        "system:serviceaccounts:kube-system"
    }
    first = next(rule for rule in rules if "userGroups" not in rule)
    assert first == {"level": "RequestResponse", "verbs": ["delete", "deletecollection"]}


def test_the_images_are_the_same_each_time_and_have_a_shell(tmp_path: Path) -> None:
    busybox = program(tmp_path / "busybox", "sh\nsleep\nbusybox")
    write_images(busybox, tmp_path / "one.tar")
    write_images(busybox, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    listed = subprocess.run(
        ["tar", "-xOf", tmp_path / "one.tar", "layer.tar"], capture_output=True, check=True
    ).stdout
    names = (
        subprocess.run(["tar", "-t"], input=listed, capture_output=True, check=True).stdout.decode().split()
    )
    assert {"bin/sh", "bin/sleep", "etc/passwd"} <= {name.rstrip("/") for name in names}


def test_only_a_static_program_goes_into_the_image(tmp_path: Path) -> None:
    def elf(header_type: int) -> Path:
        body = bytearray(64 + 56)
        body[:5] = b"\x7fELF\x02"
        body[32:40] = (64).to_bytes(8, "little")
        body[54:58] = (56).to_bytes(2, "little") + (1).to_bytes(2, "little")
        body[64:68] = header_type.to_bytes(4, "little")
        file = tmp_path / str(header_type)
        file.write_bytes(body)
        return file

    assert node.is_static(elf(1))
    assert not node.is_static(elf(3))


def test_pods_networks_of_two_clusters_differ_and_are_for_tests(tmp_path: Path) -> None:
    networks = {node.network(Places(tmp_path / str(number))) for number in range(20)}
    assert len(networks) > 10
    assert all(re.fullmatch(r"198\.1[89]\.\d{1,3}", found) for found in networks)


# ---- processes and control groups -------------------------------------------------------------------------


def test_a_process_is_found_by_its_command_line_and_ended() -> None:
    mark = "a-mark-of-this-test"
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", mark])
    found = processes.until(lambda: processes.find(lambda words: words[-1] == mark, mark), within_seconds=10)
    assert [process.pid for process in found] == [sleeper.pid]
    processes.end(found)
    assert sleeper.wait() == -15
    assert not found[0].alive


def test_a_process_that_only_has_the_number_is_left_alone() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as echo:
        processes.end([processes.Process("not ours", echo.pid, "a mark that it does not carry")])
        assert echo.communicate(b"still here")[0] == b"still here"


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as sleeper:
        assert sleeper.stdout
        sleeper.stdout.readline()
        processes.end([processes.Process("deaf", sleeper.pid, "time.sleep(60)")], patience_seconds=0.3)
        assert sleeper.wait() == -9


def test_control_groups_are_removed_from_the_inside(tmp_path: Path) -> None:
    (tmp_path / "outer" / "inner" / "innermost").mkdir(parents=True)
    assert cgroups.remove_tree(tmp_path / "outer")
    assert not (tmp_path / "outer").exists()
    (tmp_path / "busy" / "inner").mkdir(parents=True)
    (tmp_path / "busy" / "inner" / "in use").touch()
    assert not cgroups.remove_tree(tmp_path / "busy")


def test_hierarchies_of_both_versions_are_found(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n/dev/vda / ext4 rw 0 0\n"
    )
    assert cgroups.hierarchies(mounts) == [Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/unified")]


# ---- which cluster is meant -------------------------------------------------------------------------------


def some_facts(folder: Path, **changes: Any) -> Facts:
    folder.mkdir(exist_ok=True)
    (folder / "kubeconfig").touch()
    return dataclasses.replace(
        Facts(
            kubeconfig=folder / "kubeconfig",
            audit_log=folder / "audit.log",
            server="https://127.0.0.1:1",
            etcd="http://127.0.0.1:2",
            kubectl=folder / "kubectl",
            rate_limits=False,
            real_node="localhost",
        ),
        **changes,
    )


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    known = some_facts(tmp_path, real_node=None, no_real_node_because="it needs root")
    assert facts.load(Places(tmp_path)) is None
    known.save(Places(tmp_path))
    assert facts.load(Places(tmp_path)) == known


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the tools; nothing runs and nothing is started."""
    calls: list[str] = []
    monkeypatch.setattr(lifecycle, "healthy", lambda _: None)
    monkeypatch.setattr(lifecycle, "up", lambda _: calls.append("up"))
    monkeypatch.setattr(lifecycle, "down", lambda: calls.append("down"))
    return calls


def test_without_any_cluster_the_remedy_is_said_and_none_is_started(asked: list[str]) -> None:
    with pytest.raises(pytest.UsageError, match="no real cluster runs: `make cluster` starts one"):
        real_cluster({})
    assert asked == []


def test_a_cluster_that_runs_is_used_and_left_running(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(lifecycle, "healthy", lambda _: some_facts(tmp_path))
    assert real_cluster({}).kubeconfig == tmp_path / "kubeconfig"
    assert asked == []


class NodesOfSomebody:
    """Answers what the tests ask of somebody's API server."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def get(self, path: str, *, labelSelector: str) -> Any:  # noqa: N803 - the API's own word
        assert (path, labelSelector) == ("/api/v1/nodes", f"{facts.REAL_NODE_LABEL}=true")
        return self

    def ok(self, _: int) -> dict[str, list[str]]:
        return {"items": []}

    def close(self) -> None:
        pass


def test_a_named_kubeconfig_is_stronger_than_the_cluster_that_runs(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.clusters.real.Api", NodesOfSomebody)
    monkeypatch.setattr(lifecycle, "healthy", lambda _: some_facts(tmp_path / "ours"))
    named = tmp_path / "theirs"
    named.touch()
    because = f"no node of it carries the label {facts.REAL_NODE_LABEL}"
    theirs = RealCluster(kubeconfig=named, has_real_node=False, no_real_node_because=because)
    assert real_cluster({KUBECONFIG: str(named)}) == theirs
    audited = real_cluster({KUBECONFIG: str(named), AUDIT_LOG: "/some/audit.log"})
    assert audited.audit_log == Path("/some/audit.log")
    ours = real_cluster({KUBECONFIG: str(tmp_path / "ours" / "kubeconfig")})
    assert ours.has_real_node, "our own cluster was not known under its kubeconfig's name"
    assert asked == []


def test_a_named_kubeconfig_that_is_missing_is_said_so(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match=f"{KUBECONFIG}=.*nowhere: there is no such file"):
        real_cluster({KUBECONFIG: str(tmp_path / "nowhere")})


def test_a_start_that_fails_takes_everything_down_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    monkeypatch.setattr(lifecycle, "one_at_a_time", nothing_locked)
    monkeypatch.setattr(lifecycle, "build_missing", lambda *_: {})
    stopped: list[Path] = []
    monkeypatch.setattr(control_plane, "stop", lambda here, _: stopped.append(here.state))

    def fails(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(control_plane, "start", fails)
    with pytest.raises(KeyboardInterrupt):
        lifecycle.up(lifecycle.Wanted(real_node=False))
    assert stopped == [tmp_path / "state"]
    assert not (tmp_path / "state").exists()


@contextmanager
def nothing_locked(_: Places) -> Iterator[None]:
    yield


def test_folders_of_a_pod_are_mounted_once_and_only_the_named_ones_can_be_written(tmp_path: Path) -> None:
    assert outermost([Path("/a/b"), Path("/a"), Path("/ab")]) == [Path("/a"), Path("/ab")]
    template = real_node_pod_template("https://127.0.0.1:6443", writable=[tmp_path])
    (container,) = template["spec"]["containers"]
    written = [mount["mountPath"] for mount in container["volumeMounts"] if not mount["readOnly"]]
    assert written == [str(tmp_path)]
    assert {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"} in container["env"]
    assert str(HERE).startswith(container["workingDir"])
    assert "$" not in json.dumps(template)


# ---- the audit log ----------------------------------------------------------------------------------------


def event(**changes: Any) -> dict[str, Any]:
    whole = {
        "kind": "Event",
        "auditID": "1",
        "stage": "ResponseComplete",
        "verb": "delete",
        "user": {"username": "somebody"},
        "userAgent": "cleanup-scheduler/0.1",
        "objectRef": {"resource": "jobs", "apiGroup": "batch", "namespace": "n", "name": "x"},
        "requestObject": {"kind": "DeleteOptions", "preconditions": {"uid": "u1"}},
        "responseObject": {"kind": "Status", "details": {"uid": "u1"}},
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-11-23T03:42:42.873126Z",
    }
    return {**whole, **changes}


def parsed(**changes: Any) -> AuditedDelete:
    found = parse(json.dumps(event(**changes)))
    assert found
    return found


def test_a_delete_is_read_with_its_precondition_and_who_sent_it() -> None:
    found = parsed()
    assert (found.resource, found.namespace, found.name) == ("jobs.batch", "n", "x")
    assert (found.asked_uid, found.object_uid, found.code, found.accepted) == ("u1", "u1", 200, True)
    assert (found.user, found.user_agent) == ("somebody", "cleanup-scheduler/0.1")
    assert found.received_at.isoformat() == "2026-11-23T03:42:42.873126+00:00"


def test_a_delete_without_body_and_of_what_is_not_there_is_read_too() -> None:
    found = parsed(requestObject=None, responseObject=None, responseStatus={"code": 404})
    assert (found.asked_uid, found.object_uid, found.accepted) == ("", "", False)


def test_the_uid_of_a_pod_comes_from_the_answered_object() -> None:
    assert parsed(responseObject={"kind": "Pod", "metadata": {"uid": "u2"}}).object_uid == "u2"


def test_an_eviction_is_a_delete() -> None:
    reference = {
        "resource": "pods",
        "namespace": "n",
        "name": "p",
        "apiVersion": "v1",
        "subresource": "eviction",
    }
    options = {"kind": "Eviction", "deleteOptions": {"preconditions": {"uid": "u3"}}}
    found = parsed(verb="create", objectRef=reference, requestObject=options)
    assert (found.verb, found.resource, found.asked_uid) == ("evict", "pods", "u3")


@pytest.mark.parametrize("changes", [{"verb": "patch"}, {"stage": "ResponseStarted"}])
def test_what_deletes_nothing_or_is_not_answered_yet_is_passed_over(changes: dict[str, str]) -> None:
    assert parse(json.dumps(event(**changes))) is None


@pytest.mark.parametrize("line", ["{", "[]", '{"verb": "delete"}', json.dumps(event(objectRef=None))])
def test_a_line_that_is_no_event_is_an_error_and_not_a_gap(line: str) -> None:
    with pytest.raises(BadAuditLog, match="no audit event"):
        parse(line)


def test_only_whole_lines_behind_the_mark_are_read(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    assert (log.mark(), log.deletes()) == (0, [])
    first, second, third = (json.dumps(event(auditID=str(number))) for number in range(3))
    log.file.write_text(f"{first}\n")
    mark = log.mark()
    log.file.write_text(f"{first}\n{second}\n{third[:40]}")
    assert [found.audit_id for found in log.deletes(mark)] == ["1"]
    assert [found.audit_id for found in log.deletes()] == ["0", "1"]
    assert [found.audit_id for found in log.deletes(mark - 5)] == ["1"], (
        "a mark inside a line starts behind it"
    )
    log.file.write_text(f"{first}\n{second}\n{third}\n")
    assert [found.audit_id for found in log.deletes(mark, where=by_agent("cleanup"))] == ["1", "2"]
    assert log.deletes(where=by_agent("kubectl")) == []


def test_a_follower_hands_out_what_came_since_it_was_made_and_reads_each_line_once(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    first, second, third = (json.dumps(event(auditID=str(number))) for number in range(3))
    log.file.write_text(f"{first}\n{second[:30]}")
    follower = Follower(log)
    log.file.write_text(f"{first}\n{second}\n{json.dumps(event(verb='patch'))}\n{third}\n")
    assert [found["auditID"] for found in follower.deletes()] == ["2"]
    with log.file.open("a") as file:
        file.write(f"{first}\n")
    assert [found["auditID"] for found in follower.deletes()] == ["2", "0"]
    assert len(follower.deletes()) == 2


def test_catching_up_waits_for_the_line_of_its_own_request(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    log.file.touch()

    def delete(name: str) -> None:
        reference = {"resource": "configmaps", "namespace": "n", "name": name}
        log.file.write_text(json.dumps(event(objectRef=reference)) + "\n")

    log.catch_up(delete)
    with pytest.raises(BadAuditLog, match="shows no delete of audit-"):
        log.catch_up(lambda _: None, within_seconds=0.1)


def test_the_witness_waits_for_lines_that_are_written_after_their_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "audit.log"
    file.touch()

    class WritesLate:
        def __init__(self, _: Path) -> None:
            self.writers: list[threading.Timer] = []

        def delete(self, path: str) -> None:
            reference = {"resource": "configmaps", "namespace": "n", "name": path.rpartition("/")[2]}
            late = [event(auditID="answered before"), event(auditID="the marker", objectRef=reference)]
            text = "".join(json.dumps(line) + "\n" for line in late)
            self.writers.append(threading.Timer(0.1, file.write_text, [text]))
            self.writers[-1].start()

        def close(self) -> None:
            for writer in self.writers:
                writer.join()

    monkeypatch.setattr("tests.contracts.kubernetes.wire.Api", WritesLate)
    read = audit_reader(str(file), tmp_path / "kubeconfig")
    assert read
    assert [found["auditID"] for found in read()] == ["answered before", "the marker"]


def test_whatever_was_deleted_without_a_request_for_its_uid_shows() -> None:
    good, other = parsed(), parsed(requestObject={"preconditions": {"uid": "u2"}})
    bare, collection = parsed(requestObject={}), parsed(verb="deletecollection")
    compared = compare([good, other, bare, collection], {"u1", "u9"})
    assert compared.unrequested == [other]
    assert compared.unguarded == [bare, collection]
    assert compared.never_sent == {"u9"}
    with pytest.raises(
        AssertionError, match=r"nobody requested:\ndelete jobs.batch n/x \(uid asked for: none\)"
    ):
        compared.assert_nothing_else_was_deleted()
    compare([good], {"u1"}).assert_nothing_else_was_deleted()
