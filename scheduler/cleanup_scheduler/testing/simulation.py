"""Pods without a process, for tests with thousands of them: an annotation says how they end and what their
log says.
"""

from __future__ import annotations

from cleanup_scheduler.testing.objects import Object, format_time, metadata, now

SIMULATE = "cleanup-scheduler.test/simulate"
SIMULATED = ("complete", "run", "fail")
SIMULATE_LOGS = "cleanup-scheduler.test/simulate-logs"
_SIGTERM_EXIT_CODE = 143


def simulated_status(pod: Object, *, ended: bool = False) -> Object:
    """The status of a simulated pod; ``ended`` says that its deletion ended it."""
    kind = metadata(pod)["annotations"][SIMULATE]
    moment = format_time(now())
    if kind == "run" and not ended:
        state: Object = {"running": {"startedAt": moment}}
        phase, ready = "Running", True
    else:
        code = _SIGTERM_EXIT_CODE if ended else 1 if kind == "fail" else 0
        phase, ready = ("Failed" if code else "Succeeded"), False
        reason = "Error" if code else "Completed"
        state = {
            "terminated": {"exitCode": code, "reason": reason, "startedAt": moment, "finishedAt": moment}
        }
    truth = "True" if ready else "False"
    return {
        **{key: pod["status"][key] for key in ("qosClass",) if key in pod["status"]},
        "phase": phase,
        "startTime": pod["status"].get("startTime", moment),
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": moment},
            {"type": "Ready", "status": truth, "lastTransitionTime": moment},
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container.get("image", ""),
                "imageID": "",
                "ready": ready,
                "restartCount": 0,
                "state": state,
            }
            for container in pod["spec"]["containers"]
        ],
    }


def simulated_log(pod: Object) -> bytes:
    text = str((metadata(pod).get("annotations") or {}).get(SIMULATE_LOGS, ""))
    return (text if not text or text.endswith("\n") else text + "\n").encode()
