"""Who may do what, and the words in which it is refused; policies and webhooks that stand in the way of a
delete.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.contracts.kubernetes.manifests import config_map, options
from tests.contracts.kubernetes.space import Space, eventually
from tests.contracts.kubernetes.wire import Api, Json

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def test_a_bad_token_is_unauthorized(api: Api, space: Space) -> None:
    """401 says nothing about the object, also for one that does not exist.

    Source: Kubernetes documentation, Authenticating, "Authentication strategies" (401 when rejected).
    """
    stranger = Api(api.kubeconfig, token="not-a-token")
    for path in (space.path("pods"), space.path("pods", "nobody")):
        status = stranger.get(path).refused(401, "Unauthorized")
        assert status["message"] == "Unauthorized"
    stranger.close()


def service_account(space: Space, name: str = "worker") -> Api:
    """The API as this service account sees it."""
    space.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    token = space.api.post(space.path("serviceaccounts", name, "token"), request).ok(201)["status"]["token"]
    return Api(space.api.kubeconfig, token=token)


@pytest.fixture
def worker(space: Space) -> Iterator[Api]:
    worker = service_account(space)
    yield worker
    worker.close()


@pytest.mark.needs("rbac")
def test_what_no_role_allows_is_forbidden_with_user_verb_and_resource(space: Space, worker: Api) -> None:
    """The message names all that a person needs to write the missing rule, whether or not the object exists.

    Source: Kubernetes documentation, Authorization; kubernetes/kubernetes,
    staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go, ``forbiddenMessage``.
    """
    user = f"system:serviceaccount:{space.namespace}:worker"
    status = worker.get(space.path("pods")).refused(403, "Forbidden")
    assert status["message"] == (
        f'pods is forbidden: User "{user}" cannot list resource "pods" in API group "" '
        f'in the namespace "{space.namespace}"'
    )
    assert status["details"] == {"kind": "pods"}
    status = worker.delete(space.path("jobs", "nobody")).refused(403, "Forbidden")
    assert status["message"] == (
        f'jobs.batch "nobody" is forbidden: User "{user}" cannot delete resource "jobs" in API group "batch" '
        f'in the namespace "{space.namespace}"'
    )
    assert status["details"] == {"name": "nobody", "group": "batch", "kind": "jobs"}
    status = worker.get(space.path("pods", "nobody", "log")).refused(403, "Forbidden")
    assert 'cannot get resource "pods/log"' in status["message"]


@pytest.mark.needs("rbac")
def test_a_role_allows_exactly_its_verbs(space: Space, worker: Api) -> None:
    """list is not get, and delete is not deletecollection.

    Source: Kubernetes documentation, Using RBAC Authorization, "Role and ClusterRole", "Referring to
    resources".
    """
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "delete"]}]
    rbac = "rbac.authorization.k8s.io"
    space.create({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": "worker"}, "rules": rules})
    space.create(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "worker"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "worker"},
            "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": space.namespace}],
        }
    )
    space.create(config_map("a"))
    path = space.path("configmaps")
    eventually(lambda: worker.get(path).status == 200, "the binding counts")
    worker.get(f"{path}/a").refused(403, "Forbidden")
    worker.get(path, watch="true").refused(403, "Forbidden")
    worker.patch(f"{path}/a", {"data": {}}).refused(403, "Forbidden")
    worker.delete(path, labelSelector="app=contract").refused(403, "Forbidden")
    worker.get("/api/v1/configmaps").refused(403, "Forbidden")
    worker.delete(f"{path}/a").ok(200)


def in_namespace(space: Space, operation: str) -> Json:
    """Admission rules for config maps of this namespace only."""
    return {
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": ["configmaps"]}
        ],
        "selector": {"matchLabels": {"kubernetes.io/metadata.name": space.namespace}},
    }


@pytest.fixture
def policy(space: Space) -> Iterator[None]:
    """An admission policy that lets nothing be deleted that carries a legal hold."""
    name, scope = f"contract-{uuid.uuid4().hex[:8]}", in_namespace(space, "DELETE")
    constraints = {"resourceRules": scope["rules"], "namespaceSelector": scope["selector"]}
    expression = "!('hold' in oldObject.metadata.labels)"
    api = space.api
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints,
        "validations": [{"expression": expression, "message": "it is on hold"}],
    }
    base = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    kinds = {"ValidatingAdmissionPolicy": spec} | {
        "ValidatingAdmissionPolicyBinding": {"policyName": name, "validationActions": ["Deny"]}
    }
    paths = {"ValidatingAdmissionPolicy": "validatingadmissionpolicies"}
    paths["ValidatingAdmissionPolicyBinding"] = "validatingadmissionpolicybindings"
    for kind, body in kinds.items():
        api.post(f"{ADMISSION}/{paths[kind]}", {**base, "kind": kind, "spec": body}).ok(201)
    yield
    for path in reversed(paths.values()):
        api.delete(f"{ADMISSION}/{path}/{name}").ok(200)


@pytest.mark.needs("admission")
@pytest.mark.usefixtures("policy")
def test_a_policy_can_refuse_a_delete_for_good(space: Space) -> None:
    """422 with the policy's name and message: asking again will not help, a person must.

    Source: Kubernetes documentation, Validating Admission Policy, "Validation expression", "Enforcement".
    """
    space.create(config_map("held", labels={"hold": "yes"}))
    space.create(config_map("free"))
    dry = options(dryRun=["All"])
    eventually(lambda: space.delete("configmaps", "held", dry).status != 200, "the policy counts")
    status = space.delete("configmaps", "held").refused(422, "Invalid")
    assert "denied request: it is on hold" in status["message"]
    assert "ValidatingAdmissionPolicy" in status["message"]
    assert "deletionTimestamp" not in space.get("configmaps", "held")["metadata"]
    space.delete("configmaps", "free").ok(200)


@pytest.fixture
def broken_webhook(space: Space) -> Iterator[None]:
    """An admission webhook for deletes that nobody answers."""
    name, scope = f"contract-{uuid.uuid4().hex[:8]}", in_namespace(space, "DELETE")
    webhook = {
        "name": "nobody.example.com",
        "rules": scope["rules"],
        "namespaceSelector": scope["selector"],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 2,
        "admissionReviewVersions": ["v1"],
    }
    path = f"{ADMISSION}/validatingwebhookconfigurations"
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    space.api.post(path, {**kind, "metadata": {"name": name}, "webhooks": [webhook]}).ok(201)
    yield
    space.api.delete(f"{path}/{name}").ok(200)


@pytest.mark.needs("admission")
@pytest.mark.usefixtures("broken_webhook")
def test_a_webhook_that_does_not_answer_makes_deletes_fail_for_now(space: Space) -> None:
    """500 InternalError that names the webhook: trying later may help.

    Source: Kubernetes documentation, Dynamic Admission Control, "Failure policy".
    """
    space.create(config_map("a"))
    dry = options(dryRun=["All"])
    eventually(lambda: space.delete("configmaps", "a", dry).status != 200, "the webhook counts")
    status = space.delete("configmaps", "a").refused(500, "InternalError")
    assert 'failed calling webhook "nobody.example.com"' in status["message"]
    assert "deletionTimestamp" not in space.get("configmaps", "a")["metadata"]
