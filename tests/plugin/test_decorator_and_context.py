"""The decorator and the context manager: on everything that can be decorated, inside pytest and outside."""

from __future__ import annotations

import textwrap

import pytest
from cleanup_scheduler.domain import events as e

from tests.plugin.project import Project


def test_everything_that_can_be_decorated_runs_and_gets_one_scope(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import asyncio, inspect, unittest
        import pytest
        from pytest_cleanup_scheduler import with_resource_cleanup
        ran = []

        @pytest.fixture
        def number(): return 7

        @with_resource_cleanup
        def test_bare(): ran.append("bare")

        @with_resource_cleanup()
        def test_called(): ran.append("called")

        @with_resource_cleanup(cleanup_level="none", wait_after=5)
        def test_fixture(number, resource_manager):
            assert number == 7
            resource_manager.track_resource("jobs", "x")
            ran.append("fixture")

        @with_resource_cleanup("none")
        @pytest.mark.parametrize("n", [1, 2])
        def test_parametrised_below(n): ran.append(f"below{n}")

        @pytest.mark.parametrize("n", [1, 2])
        @with_resource_cleanup("none")
        def test_parametrised_above(n): ran.append(f"above{n}")

        class TestMethods:
            @with_resource_cleanup("none")
            def test_method(self, number): ran.append(f"method{number}")

        @with_resource_cleanup("none", test_id="named")
        class TestClass:
            def test_one(self): ran.append("class1")
            @staticmethod
            def test_static(): ran.append("static")
            @with_resource_cleanup("all")
            def test_own(self): ran.append("own")

        class TestInherits(TestClass):
            def test_two(self): ran.append("class2")

        @with_resource_cleanup("none")
        class TestUnit(unittest.TestCase):
            def test_unit(self): ran.append("unit")

        def test_all_of_them_ran():
            assert sorted(ran) == sorted([
                "bare", "called", "fixture", "below1", "below2", "above1", "above2", "method7",
                "class1", "static", "own", "class1", "static", "own", "class2", "unit"])

        async def body(n): ran.append("async")

        def test_async():
            decorated = with_resource_cleanup("none")(body)
            assert inspect.iscoroutinefunction(decorated)
            asyncio.run(decorated(1))
            assert ran[-1] == "async"
        """,
    )
    result = project.pytest()
    assert result.outcomes() == {"passed": 18}, result.out
    opened = [event.test_id for event in project.said(e.ScopeOpened)]
    assert len(opened) == 17, "one for each decorated test and one for the decorated coroutine"
    levels = {event.test_id: event.level for event in project.said(e.ScopeOpened)}
    assert levels["test_it.py::TestClass::test_own"] == "all", "its own decorator is nearer than its class's"
    assert levels["test_it.body"] == "none"


def test_a_decorated_failure_is_a_failure(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        from pytest_cleanup_scheduler import with_resource_cleanup
        @with_resource_cleanup("none")
        def test_it(): assert 0
        """,
    )
    result = project.pytest()
    assert (result.exit_code, result.outcomes()) == (1, {"failed": 1})
    assert project.scopes()["test_it"].outcome == "failed"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_generators_are_refused_with_the_way_out(project: Project, kind: str) -> None:
    project.write(
        "test_it.py",
        f"""
        from pytest_cleanup_scheduler import with_resource_cleanup
        @with_resource_cleanup
        {kind} test_it():
            yield
        """,
    )
    result = project.pytest()
    assert result.exit_code == 2
    assert "is a generator" in result.out
    assert "managed_test_resources" in result.out


def test_a_decorated_helper_has_a_scope_of_its_own_within_a_decorated_test(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        from pytest_cleanup_scheduler import managed_test_resources, with_resource_cleanup

        @with_resource_cleanup("none", test_id="helper")
        def helper():
            with managed_test_resources("block", cleanup_level="none") as manager:
                manager.track_resource("jobs", "inner")
            return 42

        @with_resource_cleanup("none", test_id="outer")
        def test_it():
            assert helper() == 42
        """,
    )
    result = project.pytest()
    assert result.exit_code == 0, result.out
    assert [event.test_id for event in project.said(e.ScopeOpened)] == ["outer", "helper", "block"]
    assert len({event.run_id for event in project.events()}) == 1
    assert [resource.ref.name for resource in project.scopes()["block"].tracked()] == ["inner"]


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        ("pass", "passed"),
        ("raise ValueError", "failed"),
        ("raise KeyboardInterrupt", "interrupted"),
        ("raise SystemExit(1)", "interrupted"),
        ("raise unittest.SkipTest", "skipped"),
        ("raise asyncio.CancelledError", "interrupted"),
    ],
)
def test_a_script_has_a_run_of_its_own_and_the_block_its_outcome(
    project: Project, raised: str, outcome: str
) -> None:
    project.write(
        "script.py",
        textwrap.dedent(
            """
            import asyncio, os, unittest
            from pytest_cleanup_scheduler import managed_test_resources
            try:
                with managed_test_resources("block", cleanup_level="none") as manager:
                    assert os.environ["CLEANUP_SCHEDULER_SCOPE_ID"] == manager.scope_id
                    manager.track_resource("jobs", "x")
                    RAISED
            except BaseException:
                pass
            """
        ).replace("RAISED", raised),
    )
    result = project.run("script.py")
    assert (result.exit_code, result.err) == (0, "")
    assert project.scopes()["block"].outcome == outcome
    started = project.said(e.RunStarted)
    assert [(event.name, event.mode) for event in started] == [("script.py", "script")]
    assert project.events()[-1].type == "RunFinished"


def test_an_async_block_and_function_work_outside_pytest(project: Project) -> None:
    project.write(
        "script.py",
        """
        import asyncio
        from pytest_cleanup_scheduler import managed_test_resources, with_resource_cleanup

        @with_resource_cleanup("none", test_id="function")
        async def function():
            async with managed_test_resources("block", cleanup_level="none") as manager:
                manager.track_resource("jobs", "x")
            return 1

        assert asyncio.run(function()) == 1
        """,
    )
    assert project.run("script.py").exit_code == 0
    assert {name: scope.outcome for name, scope in project.scopes().items()} == {
        "function": "passed",
        "block": "passed",
    }


def test_outside_pytest_bad_input_is_raised(project: Project) -> None:
    project.write(
        "script.py",
        """
        from cleanup_scheduler.errors import UnknownName, UsageError
        from pytest_cleanup_scheduler import managed_test_resources, with_resource_cleanup
        for wrong in (lambda: with_resource_cleanup("podz"), lambda: managed_test_resources("x", "podz")):
            try:
                wrong()
            except UnknownName as error:
                print(error)
        with managed_test_resources("block", cleanup_level="none") as manager:
            try:
                manager.track_resource("jobs", "Not_A_Name")
            except UsageError as error:
                print(error)
        """,
    )
    result = project.run("script.py")
    assert result.exit_code == 0, result.err
    assert result.out.count("did you mean 'pods'") == 2
    assert "'Not_A_Name' is not a resource name" in result.out


def test_the_documents_import_path_offers_the_same() -> None:
    import pytest_cleanup_scheduler

    from tests.utils import resource_manager

    for name in ("with_resource_cleanup", "managed_test_resources", "ResourceManager"):
        assert getattr(resource_manager, name) is getattr(pytest_cleanup_scheduler, name)
