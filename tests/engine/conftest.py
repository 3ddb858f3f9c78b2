"""Coroutine tests run in a loop of their own; each gets a ledger, a namespace, and a witness at its end."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cleanup_scheduler.ledger import Ledger, open_ledger

from tests.databases import fresh_ledger
from tests.engine.world import World, world
from tests.under_test import ClusterUnderTest
from tests.witness import assert_every_delete_was_requested

MakeWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(params=["sqlite"])
def database(request: pytest.FixtureRequest) -> str:
    """One database unless a test asks for both: what differs between them is tested with the ledger."""
    name: str = request.param
    return name


@pytest.fixture
def ledger_url(database: str, tmp_path: Path) -> Iterator[str]:
    with fresh_ledger(database, tmp_path) as url:
        yield url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with open_ledger(ledger_url) as ledger:
        yield ledger


@pytest.fixture
def make_world(ledger: Ledger, ledger_url: str, cluster_under_test: ClusterUnderTest) -> MakeWorld:
    """``async with make_world(setting=…) as w``; at its end every delete is compared with the ledger."""

    @asynccontextmanager
    async def make(**settings: Any) -> Any:
        async with world(ledger, cluster_under_test, **settings) as made:
            made.ledger_url = ledger_url
            yield made
            assert_every_delete_was_requested(
                ledger, cluster_under_test, made.namespace, by_hand=frozenset(made.by_hand)
            )
            made.assert_sums()

    return make


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig that is well-formed and leads nowhere."""
    file = tmp_path / "kubeconfig"
    contexts = [{"name": "c", "context": {"cluster": "c", "user": "u"}}]
    clusters = [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}]
    users: list[Any] = [{"name": "u", "user": {}}]
    document = {"current-context": "c", "contexts": contexts, "clusters": clusters, "users": users}
    file.write_text(json.dumps(document))
    return file
