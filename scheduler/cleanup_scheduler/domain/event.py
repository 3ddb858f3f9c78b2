"""What all events have in common. The events themselves are in :mod:`cleanup_scheduler.domain.events`."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from cleanup_scheduler.domain.resources import ResourceRef


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all payloads. ``VERSION`` rises when the meaning of a field changes.

    Nothing here can be part of a cycle, so the garbage collector need not look at it (``gc=False``).
    """

    VERSION: ClassVar[int] = 1


class ResourceEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A payload about one resource. ``uid`` is empty as long as nobody has seen the object."""

    resource: ResourceRef
    uid: str = ""
