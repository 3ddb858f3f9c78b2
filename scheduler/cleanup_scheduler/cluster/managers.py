"""Who set a finalizer: the API remembers for each field which program wrote it (``metadata.managedFields``).

Refuses to guess: a finalizer that no manager claims (an old server, fields that were cleared) has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def finalizer_managers(body: Mapping[str, Any]) -> dict[str, str]:
    """The field manager of each finalizer of an object; several are separated by commas."""
    found: dict[str, list[str]] = {}
    entries = (body.get("metadata") or {}).get("managedFields") or ()
    for entry in entries:
        manager = str(entry.get("manager") or "")
        fields = ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:finalizers") or {}
        for field in fields:
            if manager and field.startswith('v:"'):
                managers = found.setdefault(field.removeprefix('v:"').removesuffix('"'), [])
                managers += [manager] if manager not in managers else []
    return {finalizer: ", ".join(managers) for finalizer, managers in found.items()}
