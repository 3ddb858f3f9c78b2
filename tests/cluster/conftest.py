"""Coroutine tests run in a loop of their own; ``proxied`` gives every answer that a test arms."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import yaml
from cleanup_scheduler.cluster import Cluster, connect
from cleanup_scheduler.settings import Settings

from tests.faults.proxy import FaultProxy

Proxied = Callable[..., AbstractAsyncContextManager[tuple[FaultProxy, Cluster]]]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A kubeconfig of a cluster that nobody serves."""
    file = tmp_path / "nowhere"
    file.write_text(
        yaml.safe_dump(
            {
                "current-context": "nowhere",
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "contexts": [{"name": "nowhere", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"token": "a-token"}}],
            }
        )
    )
    return file


@pytest.fixture
def proxied(nowhere: Path, tmp_path: Path) -> Proxied:
    """``async with proxied(timeout) as (proxy, cluster)``: every answer is one that the test arms."""

    @asynccontextmanager
    async def run(timeout_seconds: float = 5.0) -> AsyncIterator[tuple[FaultProxy, Cluster]]:
        async with FaultProxy(nowhere, tmp_path) as proxy:
            settings = Settings(kubeconfig=str(proxy.kubeconfig), request_timeout_seconds=timeout_seconds)
            async with connect(settings) as cluster:
                yield proxy, cluster

    return run
