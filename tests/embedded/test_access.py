"""Who is let in."""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.contracts.kubernetes.wire import Api
from tests.embedded.world import CONFIG_MAPS, World, config_map


@pytest.mark.parametrize("token", ["", "wrong", "gänzlich-falsch".encode().decode("latin-1")])
def test_without_the_token_every_path_is_refused(shared: World, token: str) -> None:
    stranger = Api(shared.cluster.kubeconfig, token=token)
    for path in ("/api", "/version", "/api/v1/namespaces", "/nothing"):
        stranger.get(path).refused(401, "Unauthorized")
    stranger.close()


def test_a_kubeconfig_can_be_written_that_is_refused(shared: World, tmp_path: Path) -> None:
    shared.cluster.write_kubeconfig(tmp_path / "kubeconfig", token="expired")
    stranger = Api(tmp_path / "kubeconfig")
    stranger.get("/api/v1/namespaces").refused(401, "Unauthorized")
    stranger.close()


def test_health_is_told_to_anybody(shared: World) -> None:
    assert Api(shared.cluster.kubeconfig, token="").get("/readyz").text == "ok"


def test_the_certificate_holds_for_strict_verification_and_for_nobody_else(shared: World) -> None:
    other = ssl.create_default_context()
    with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"{shared.cluster.server}/readyz", context=other)  # noqa: S310  (an https address)


def test_a_body_of_two_megabytes_is_taken_and_one_of_four_is_refused(shared: World) -> None:
    big = {**config_map("big"), "data": {"text": "x" * 2_000_000}}
    shared.api.post(CONFIG_MAPS, big).ok(201)
    too_big = {**config_map("too-big"), "data": {"text": "x" * 4_000_000}}
    shared.api.post(CONFIG_MAPS, too_big).refused(413, "RequestEntityTooLarge")
