"""Ids made by producers: UUIDv7, so that they sort by time and a repeated append can be recognised."""

from __future__ import annotations

import uuid_utils


def new_id() -> str:
    """A UUIDv7 (RFC 9562) in 32 hexadecimal digits: also valid as a Kubernetes label value."""
    return uuid_utils.uuid7().hex
