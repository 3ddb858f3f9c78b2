"""What can be read of a container's output, from when to when, and the words of each refusal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import pod
from tests.contracts.kubernetes.space import Space, eventually
from tests.contracts.kubernetes.wire import Json, Reply
from tests.under_test import ClusterUnderTest, require

pytestmark = pytest.mark.needs("process_pods")


def log(space: Space, name: str, **query: Any) -> Reply:
    return space.api.get(space.path("pods", name, "log"), accept="*/*", **query)


def container(template: Json, name: str, script: str) -> Json:
    return {**template["spec"]["containers"][0], "name": name, "command": ["sh", "-c", script]}


@pytest.fixture(scope="module", autouse=True)
def pods(shared_space: Space, running: Template, cluster_under_test: ClusterUnderTest) -> None:
    """Pods of all sorts, started together; each test waits for the state that it reads."""
    require(cluster_under_test, "process_pods")
    space = shared_space
    space.create(pod("done", running("echo first; echo second >&2; echo third")))
    space.create(pod("failed", running("echo about to fail; exit 3")))
    two = running("echo from main")
    two["spec"]["containers"].append(container(two, "side", "echo from side"))
    two["spec"]["initContainers"] = [container(two, "prepare", "echo from prepare")]
    space.create(pod("two", two))
    waiting = running("echo never")
    waiting["spec"]["initContainers"] = [container(waiting, "prepare", "echo preparing; exec sleep 300")]
    space.create(pod("waiting", waiting))
    space.create(pod("crashing", running("echo it crashed; sleep 3; exit 1", restartPolicy="Always")))
    space.create(
        pod("talking", running("for word in one two three; do echo $word; sleep 1; done; printf end"))
    )


def test_the_log_of_a_completed_pod_holds_both_streams(shared_space: Space) -> None:
    """As plain text, in the order of writing, long after the processes ended.

    Source: Kubernetes documentation, Logging Architecture, "Pod and container logs".
    """
    done = shared_space.until_phase("done", "Succeeded")
    reply = log(shared_space, "done")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert sorted(reply.text.splitlines()) == ["first", "second", "third"]
    [status] = done["status"]["containerStatuses"]
    ended = status["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], status["restartCount"]) == (0, "Completed", 0)
    assert ended["startedAt"] <= ended["finishedAt"]


def test_the_exit_code_of_a_failed_pod_is_in_its_status_and_its_log_is_kept(shared_space: Space) -> None:
    """Source: Kubernetes documentation, Pod Lifecycle, "Container states" (Terminated)."""
    failed = shared_space.until_phase("failed", "Failed")
    ended = failed["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert log(shared_space, "failed").text == "about to fail\n"


def test_a_log_can_be_cut_at_either_end(shared_space: Space) -> None:
    """tailLines counts from the end, limitBytes cuts what is left, timestamps prefix each line with RFC 3339.

    Source: Kubernetes API reference, Pod, "read log of the specified Pod" (limitBytes, sinceSeconds,
    tailLines, timestamps).
    """
    shared_space.until_phase("talking", "Succeeded")
    assert log(shared_space, "talking").text == "one\ntwo\nthree\nend"
    assert log(shared_space, "talking", tailLines=2).text == "three\nend"
    assert log(shared_space, "talking", tailLines=0).text == ""
    assert log(shared_space, "talking", limitBytes=5).text == "one\nt"
    assert log(shared_space, "talking", tailLines=2, limitBytes=4).text == "thre"
    assert log(shared_space, "talking", sinceSeconds=3600).text == "one\ntwo\nthree\nend"
    stamped = log(shared_space, "talking", timestamps="true").text.splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["one", "two", "three", "end"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) ", line) for line in stamped)


def test_a_log_limit_that_makes_no_sense_is_invalid(shared_space: Space) -> None:
    """Source: kubernetes/kubernetes, pkg/apis/core/validation/validation.go, ``ValidatePodLogOptions``."""
    log(shared_space, "done", tailLines=-1).refused(422, "Invalid")
    log(shared_space, "done", limitBytes=0).refused(422, "Invalid")


def test_a_pod_of_several_containers_wants_to_be_told_which(shared_space: Space) -> None:
    """400, with the names to choose from; each can be read by its name, init containers too.

    Source: kubernetes/kubernetes, pkg/registry/core/pod/strategy.go, ``LogLocation``; kubectl logs -c.
    """
    shared_space.until_phase("two", "Succeeded")
    status = log(shared_space, "two").refused(400, "BadRequest")
    assert status["message"] == (
        "a container name must be specified for pod two, choose one of: [prepare main side]"
    )
    for name in ("main", "side", "prepare"):
        assert log(shared_space, "two", container=name).text == f"from {name}\n"
    status = log(shared_space, "two", container="nobody").refused(400, "BadRequest")
    assert status["message"] == "container nobody is not valid for pod two"


def test_a_container_that_has_not_begun_has_no_log_yet(shared_space: Space) -> None:
    """400 with what it waits for, while its init container's log is there.

    Source: kubernetes/kubernetes, pkg/kubelet/kubelet_pods.go, ``validateContainerLogStatus``.
    """
    eventually(
        lambda: log(shared_space, "waiting", container="prepare").text == "preparing\n",
        "the init container's log",
    )
    status = log(shared_space, "waiting").refused(400, "BadRequest")
    assert status["message"] == 'container "main" in pod "waiting" is waiting to start: PodInitializing'


def test_the_previous_log_of_a_restarted_container_can_be_read(shared_space: Space) -> None:
    """While the next one runs. Of one that never restarted it cannot, and that is a 400.

    Source: Kubernetes API reference, Pod, "read log of the specified Pod" (previous).
    """
    shared_space.until("pods", "crashing", restarted_and_running, "restarted")
    reply = log(shared_space, "crashing", previous="true")
    assert (reply.status, reply.text) == (200, "it crashed\n")
    shared_space.until_phase("done", "Succeeded")
    status = log(shared_space, "done", previous="true").refused(400, "BadRequest")
    assert status["message"] == 'previous terminated container "main" in pod "done" not found'


def restarted_and_running(seen: Json) -> bool:
    [status] = seen["status"].get("containerStatuses") or [{"restartCount": 0}]
    return status["restartCount"] > 0 and "running" in status["state"]


@pytest.mark.needs("lost_logs")
def test_a_log_that_the_node_has_lost_answers_200_with_words_in_its_place(shared_space: Space) -> None:
    """The node keeps one dead container: once the next is dead too, the previous log is an apology.

    Source: kubernetes/kubernetes, pkg/kubelet/kuberuntime/kuberuntime_manager.go, ``GetContainerLogs``.
    """
    lost = "unable to retrieve container logs for "
    reply = eventually(
        lambda: (
            seen if (seen := log(shared_space, "crashing", previous="true")).text.startswith(lost) else None
        ),
        "the previous log lost",
    )
    assert reply.status == 200


def test_the_log_of_a_deleted_pod_is_not_found(shared_space: Space, running: Template) -> None:
    """Once the pod object is gone nothing of its output can be had from the API.

    Source: Kubernetes documentation, Logging Architecture, "Cluster-level logging architectures".
    """
    shared_space.create(pod("brief", running("echo soon gone")))
    shared_space.until_phase("brief", "Succeeded")
    assert log(shared_space, "brief").text == "soon gone\n"
    shared_space.delete("pods", "brief").ok(200)
    status = log(shared_space, "brief").refused(404, "NotFound")
    assert status["message"] == 'pods "brief" not found'


def test_following_a_log_ends_when_the_container_ends(shared_space: Space, running: Template) -> None:
    """The answer begins at once, brings each line as it is written, and ends by itself.

    Source: Kubernetes API reference, Pod, "read log of the specified Pod" (follow); kubectl logs -f.
    """
    script = "echo begun; for i in 1 2 3 4 5; do sleep 0.3; echo line $i; done"
    shared_space.create(pod("followed", running(script)))
    shared_space.until("pods", "followed", lambda seen: seen["status"]["phase"] != "Pending", "started")
    with shared_space.api.stream(
        shared_space.path("pods", "followed", "log"), accept="*/*", follow="true"
    ) as reply:
        assert reply.status == 200
        chunks = [chunk.decode() for chunk in reply.stream()]
    assert "".join(chunks) == "begun\n" + "".join(f"line {number}\n" for number in range(1, 6))
    shared_space.until_phase("followed", "Succeeded")


def test_a_pod_without_a_node_has_an_empty_log(shared_space: Space, running: Template) -> None:
    """Source: kubernetes/kubernetes, pkg/registry/core/pod/strategy.go, ``LogLocation`` (no host: empty
    location).
    """
    shared_space.create(pod("homeless", running("echo never", schedulerName="nobody")))
    reply = log(shared_space, "homeless")
    assert (reply.status, reply.body) == (204, b"")
