"""Which of several levels holds, and who may say one."""

from __future__ import annotations

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.errors import UnknownName, UsageError
from pytest_cleanup_scheduler.wishes import LevelSources, check_level, check_wait

from tests.plugin.project import Project

ALL_SAY_ALL = LevelSources(argument="all", set_in_test="all", marker="all", option="all", settings="all")


def test_an_explicit_none_on_the_command_line_beats_everything() -> None:
    assert ALL_SAY_ALL._replace(option="none").choose() == ("none", "--resource-cleanup none")


@pytest.mark.parametrize(
    ("strongest", "source"),
    [
        ("argument", "decorator or context manager"),
        ("set_in_test", "resource_manager.cleanup_level"),
        ("marker", "marker"),
        ("option", "--resource-cleanup"),
        ("settings", "configuration"),
    ],
)
def test_of_several_levels_the_nearest_to_the_test_holds(strongest: str, source: str) -> None:
    fields = ("argument", "set_in_test", "marker", "option", "settings")
    weaker = fields[fields.index(strongest) :]
    sources = LevelSources(**dict.fromkeys(weaker, "all"))._replace(**{strongest: "pods"})  # type: ignore[arg-type]
    assert sources.choose() == ("pods", source)


def test_without_any_the_default_holds() -> None:
    assert LevelSources().choose() == ("pods", "default")
    assert LevelSources(default="none").choose() == ("none", "default")


@pytest.mark.parametrize(("word", "nearest"), [("pod", "pods"), ("ALL", "all"), ("nnoe", "none")])
def test_a_misspelt_level_names_the_nearest(word: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{nearest}'"):
        check_level(word)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "5", True, None])
def test_a_wait_that_nobody_can_wait_is_refused(seconds: object) -> None:
    with pytest.raises(UsageError, match="wait_after"):
        check_wait(seconds)


SEVERAL = """
    import pytest
    from tests_names import with_resource_cleanup
    def test_default(resource_manager): pass
    @pytest.mark.resource_cleanup("all")
    def test_marker(resource_manager): pass
    @pytest.mark.resource_cleanup("all")
    def test_set(resource_manager):
        resource_manager.cleanup_level = "none"
        assert resource_manager.cleanup_level == "none"
    @with_resource_cleanup(cleanup_level="all")
    def test_decorated(resource_manager):
        resource_manager.cleanup_level = "none"
        assert resource_manager.cleanup_level == "all"
"""


def several(project: Project) -> Project:
    project.write("tests_names.py", "from pytest_cleanup_scheduler import with_resource_cleanup")
    project.write("test_it.py", SEVERAL)
    return project


def levels(project: Project) -> dict[str, str]:
    return {name.removeprefix("test_"): scope.level for name, scope in project.scopes().items()}


def test_plain_pytest_cleans_pods_where_a_test_asks_for_the_manager(project: Project) -> None:
    several(project).pytest()
    assert levels(project) == {"default": "pods", "marker": "all", "set": "none", "decorated": "all"}


def test_the_option_is_weaker_than_what_the_test_says(project: Project) -> None:
    several(project).pytest("--cleanup-level", "all")
    assert levels(project) == {"default": "all", "marker": "all", "set": "none", "decorated": "all"}


def test_the_option_none_deletes_nothing_at_all(project: Project) -> None:
    result = several(project).pytest(
        "--resource-cleanup=none", "-v", "--deselect", "test_it.py::test_decorated"
    )
    assert set(levels(project).values()) == {"none"}
    assert "cleanup:" not in result.out


def test_the_environment_beats_the_configuration(project: Project) -> None:
    project.configure('resource_cleanup = "none"')
    several(project).pytest()
    assert levels(project)["default"] == "none"
    project.pytest(env={"CLEANUP_SCHEDULER_RESOURCE_CLEANUP": "all"})
    assert levels(project)["default"] == "all"
    sources = [event.level_source for event in project.said(e.ScopeOpened) if "default" in event.test_id]
    assert sources == [str(project.folder / "pyproject.toml"), "CLEANUP_SCHEDULER_RESOURCE_CLEANUP"]


def test_force_comes_from_the_option_the_marker_or_the_decorator(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import pytest
        from pytest_cleanup_scheduler import with_resource_cleanup
        def test_plain(resource_manager): assert 0
        @pytest.mark.resource_cleanup("pods", force=True)
        def test_marker(resource_manager): assert 0
        @with_resource_cleanup(force=True)
        def test_decorated(resource_manager): assert 0
        """,
    )
    project.pytest()
    forced = {name: scope.forced for name, scope in project.scopes().items()}
    assert forced == {"test_plain": False, "test_marker": True, "test_decorated": True}
    project.pytest("--force-cleanup")
    assert all(scope.forced for scope in project.scopes().values())


def test_the_header_says_what_was_asked_on_the_command_line_and_nothing_otherwise(project: Project) -> None:
    project.write("test_it.py", "def test_it(): pass")
    assert (
        "cleanup-scheduler: level all, failed tests too"
        in project.pytest("--resource-cleanup", "all", "--force-cleanup").out
    )
    assert "cleanup-scheduler:" not in project.pytest().out
