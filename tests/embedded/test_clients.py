"""The official client's models can read every kind that the embedded cluster serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config

from tests.embedded.world import CONFIG_MAPS, JOBS, NAMESPACE, PODS, World, config_map, pod, shell

NAMED = "/api/v1/namespaces/crucible"


@pytest.fixture
def typed(own: World) -> Iterator[client.ApiClient]:
    configuration = client.Configuration()
    config.load_kube_config(  # type: ignore[no-untyped-call]
        str(own.cluster.kubeconfig), client_configuration=configuration
    )
    with client.ApiClient(configuration) as api_client:
        yield api_client


def test_typed_lists_of_every_kind_are_read(own: World, typed: client.ApiClient) -> None:
    template = {"spec": shell("true")}
    selector = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    own.api.post(CONFIG_MAPS, config_map("a")).ok(201)
    own.api.post(f"{NAMED}/secrets", {"metadata": {"name": "a"}}).ok(201)
    own.api.post(f"{NAMED}/services", {"metadata": {"name": "a"}, "spec": {}}).ok(201)
    own.api.post(f"{NAMED}/persistentvolumeclaims", {"metadata": {"name": "a"}, "spec": {}}).ok(201)
    own.api.post(f"{NAMED}/resourcequotas", {"metadata": {"name": "a"}, "spec": {"hard": {"pods": 9}}}).ok(
        201
    )
    own.api.post(JOBS, {"metadata": {"name": "a"}, "spec": {"template": template}}).ok(201)
    schedule = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}
    own.api.post(JOBS.replace("/jobs", "/cronjobs"), {"metadata": {"name": "a"}, "spec": schedule}).ok(201)
    apps = f"/apis/apps/v1/namespaces/{NAMESPACE}"
    for plural in ("deployments", "replicasets", "daemonsets"):
        own.api.post(f"{apps}/{plural}", {"metadata": {"name": "a"}, "spec": selector}).ok(201)
    stateful = {**selector, "serviceName": "a"}
    own.api.post(f"{apps}/statefulsets", {"metadata": {"name": "a"}, "spec": stateful}).ok(201)
    own.api.post(PODS, pod("b", shell("true"))).ok(201)
    own.until_phase("b", "Succeeded")
    core, batch, workloads = client.CoreV1Api(typed), client.BatchV1Api(typed), client.AppsV1Api(typed)
    for read in (
        core.list_namespaced_config_map,
        core.list_namespaced_secret,
        core.list_namespaced_service,
        core.list_namespaced_service_account,
        core.list_namespaced_persistent_volume_claim,
        core.list_namespaced_resource_quota,
        core.list_namespaced_event,
        core.list_namespaced_pod,
        batch.list_namespaced_job,
        batch.list_namespaced_cron_job,
        workloads.list_namespaced_deployment,
        workloads.list_namespaced_replica_set,
        workloads.list_namespaced_daemon_set,
        workloads.list_namespaced_stateful_set,
    ):
        assert read(NAMESPACE).items, read.__name__
    assert [node["metadata"]["name"] for node in core.list_node().to_dict()["items"]] == ["embedded"]
    assert len(core.list_namespace().items) == 4


def test_a_custom_resource_definition_is_read_and_its_kind_used_by_the_client(
    own: World, typed: client.ApiClient
) -> None:
    names = {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"]}
    versions = [{"name": "v1", "served": True, "storage": True}]
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    definitions = client.ApiextensionsV1Api(typed)
    definition = {"metadata": {"name": "widgets.example.com"}, "spec": spec}
    own.api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).ok(201)
    found = definitions.read_custom_resource_definition("widgets.example.com").to_dict()
    conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    objects = client.CustomObjectsApi(typed)
    widget = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"size": 1},
    }
    objects.create_namespaced_custom_object("example.com", "v1", NAMESPACE, "widgets", widget)
    listed: Any = objects.list_namespaced_custom_object("example.com", "v1", NAMESPACE, "widgets")
    assert [item["spec"] for item in listed["items"]] == [{"size": 1}]
    definitions.delete_custom_resource_definition("widgets.example.com")
    reply = own.api.get(f"/apis/example.com/v1/namespaces/{NAMESPACE}/widgets")
    assert (reply.status, reply.text) == (404, "404 page not found\n")
