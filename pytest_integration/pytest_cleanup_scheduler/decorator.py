"""``with_resource_cleanup``: the decorated function's call is a scope.

Of a test that pytest runs, the plugin opens and closes the scope, because only it learns how set-up and
teardown went; the wrapper then only calls. Everywhere else (a helper, a script) the wrapper makes the scope.
Functions, coroutine functions, methods and classes can be decorated; generators cannot, because their body
runs after the call has returned.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast, overload

from cleanup_scheduler.errors import UsageError

from pytest_cleanup_scheduler import active
from pytest_cleanup_scheduler.asking import make_wish
from pytest_cleanup_scheduler.context import ManagedResources
from pytest_cleanup_scheduler.problems import WISH_ATTRIBUTE
from pytest_cleanup_scheduler.wishes import Wish

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | type)


@overload
def with_resource_cleanup(cleanup_level: Decorated) -> Decorated: ...


@overload
def with_resource_cleanup(
    cleanup_level: str | None = None,
    wait_after: float | None = None,
    force: bool = False,  # noqa: FBT001
    test_id: str | None = None,
) -> Callable[[Decorated], Decorated]: ...


def with_resource_cleanup(
    cleanup_level: Any = None,
    wait_after: float | None = None,
    force: bool = False,  # noqa: FBT001
    test_id: str | None = None,
) -> Any:
    """Clean up after the decorated test what it tracked. With or without arguments.

    ``cleanup_level``: ``none``, ``pods`` or ``all``; ``wait_after``: wait at most so many seconds until
    things are freed; ``force``: clean even if the test failed; ``test_id``: its name in reports. What is not
    given comes from the options and the configuration. A class: each of its tests.
    """
    if callable(cleanup_level) or isinstance(cleanup_level, (staticmethod, classmethod)):
        return _decorate(cleanup_level, make_wish(None, None))
    wish = make_wish(cleanup_level, wait_after, force=force, test_id=test_id)
    return lambda target: _decorate(target, wish)


def _decorate(target: Any, wish: Wish) -> Any:
    if isinstance(target, type):
        return _decorate_class(target, wish)
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(_decorate(target.__func__, wish))
    if not callable(target):
        raise UsageError(f"{target!r} cannot be decorated", hint="decorate a function, a method or a class")
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise UsageError(
            f"{target.__qualname__} is a generator, which with_resource_cleanup cannot decorate",
            hint="use `with managed_test_resources(...)` inside it",
        )
    wrapper = _async_wrapper(target, wish) if inspect.iscoroutinefunction(target) else _wrapper(target, wish)
    setattr(wrapper, WISH_ATTRIBUTE, wish)
    return wrapper


def _wrapper(function: Callable[..., Any], wish: Wish) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if active.handles(wish):
            return function(*args, **kwargs)
        with _scope(function, wish):
            return function(*args, **kwargs)

    return wrapper


def _async_wrapper(function: Callable[..., Any], wish: Wish) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if active.handles(wish):
            return await function(*args, **kwargs)
        async with _scope(function, wish):
            return await function(*args, **kwargs)

    return wrapper


def _scope(function: Callable[..., Any], wish: Wish) -> ManagedResources:
    name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"
    return ManagedResources(wish._replace(test_id=wish.test_id or name))


def _decorate_class(cls: type, wish: Wish) -> type:
    """The same class; what pytest collects from it is known by the attribute, called directly by the wrap."""
    inherited = [vars(base)[WISH_ATTRIBUTE] for base in cls.__mro__[1:] if WISH_ATTRIBUTE in vars(base)]
    setattr(cls, WISH_ATTRIBUTE, wish)
    for name in [name for name in dir(cls) if name.startswith("test")]:
        member = inspect.getattr_static(cls, name)
        kind = type(member) if isinstance(member, (staticmethod, classmethod)) else None
        function = member.__func__ if kind else member
        own_wish = getattr(function, WISH_ATTRIBUTE, None)
        if any(own_wish is other for other in inherited):  # decorated with a base class: this one is nearer
            function, own_wish = inspect.unwrap(function), None
        if inspect.isfunction(function) and own_wish is None:
            decorated = _decorate(function, wish)
            setattr(cls, name, kind(decorated) if kind else decorated)
    return cls


def wish_of(function: object, cls: object) -> Wish | None:
    """What the decorator asked for on a collected test; its own before its class's."""
    return cast("Wish | None", getattr(function, WISH_ATTRIBUTE, None) or getattr(cls, WISH_ATTRIBUTE, None))
