"""The read side: what the ledger's state says, as typed structs that serialise to JSON.

Pure: state, rules and the time are passed in. Prints nothing, decides nothing, asks no cluster.
"""

from cleanup_scheduler.reports.logs import LogSelection, select_logs
from cleanup_scheduler.reports.model import (
    Counts,
    DeadLetter,
    Explanation,
    Moment,
    ResourceReport,
    RunReport,
    ScopeReport,
    Standing,
    Summary,
)
from cleanup_scheduler.reports.runs import report_run, report_scope, summarise
from cleanup_scheduler.reports.source import Found, Source, StateSource
from cleanup_scheduler.reports.standing import ScopeView
from cleanup_scheduler.reports.targets import Target, resolve_run, resolve_target, still_there
from cleanup_scheduler.reports.timeline import explain, timeline

__all__ = [
    "Counts",
    "DeadLetter",
    "Explanation",
    "Found",
    "LogSelection",
    "Moment",
    "ResourceReport",
    "RunReport",
    "ScopeReport",
    "ScopeView",
    "Source",
    "Standing",
    "StateSource",
    "Summary",
    "Target",
    "explain",
    "report_run",
    "report_scope",
    "resolve_run",
    "resolve_target",
    "select_logs",
    "still_there",
    "summarise",
    "timeline",
]
