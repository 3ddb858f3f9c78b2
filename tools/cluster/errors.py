"""What goes wrong with the real cluster, each with what to do about it."""

from __future__ import annotations


class ClusterToolError(Exception):
    """One line for the terminal; the command exits with 1."""


class BuildFailed(ClusterToolError):
    """A program could neither be found nor built."""


class StartFailed(ClusterToolError):
    """A part of the cluster did not come up; what its log said last is in the message."""


class StopFailed(ClusterToolError):
    """Something of the cluster is still there after it was stopped."""
