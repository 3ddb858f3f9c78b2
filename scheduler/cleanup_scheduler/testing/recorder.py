"""Events: what controllers tell people through ``kubectl describe``. The oldest go when there are many."""

from __future__ import annotations

from collections import deque

from cleanup_scheduler.testing.api import Api
from cleanup_scheduler.testing.objects import Object, format_micro_time, format_time, metadata, new_uid, now
from cleanup_scheduler.testing.statuses import ApiError

_MAX_EVENTS = 2_000


class Recorder:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._resource = api.registry.by_key("events")
        self._names: deque[tuple[str, str]] = deque()

    def tell(self, about: Object, reason: str, message: str, *, source: str, warning: bool = False) -> None:
        meta = metadata(about)
        moment = now()
        name = f"{meta['name']}.{new_uid()[:8]}{format_micro_time(moment)[20:26]}"
        event: Object = {
            "metadata": {"name": name, "namespace": meta["namespace"]},
            "involvedObject": {
                "kind": about["kind"],
                "apiVersion": about["apiVersion"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "reason": reason,
            "message": message,
            "source": {"component": source},
            "firstTimestamp": format_time(moment),
            "lastTimestamp": format_time(moment),
            "count": 1,
            "type": "Warning" if warning else "Normal",
            "reportingComponent": source,
        }
        try:
            self._api.create(self._resource, meta["namespace"], event)
        except ApiError as error:
            if error.code != 403 and error.code != 404:  # the namespace is going, or full of events
                raise
            return
        self._names.append((meta["namespace"], name))
        if len(self._names) > _MAX_EVENTS:
            oldest = self._api.store.get(self._resource, *self._names.popleft())
            if oldest is not None:
                self._api.store.remove(oldest)
