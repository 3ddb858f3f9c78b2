"""What is taken up of a quota: pods that have not ended, and the CPU and memory that they request."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

_MEBIBYTE: Final = 1024**2


class Occupied(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """Seen ``at`` that time (the latest, for a sum)."""

    running_pods: int = 0
    cpu_millicores: int = 0
    memory_bytes: int = 0
    at: datetime | None = None

    def __str__(self) -> str:
        """``2 pods, 500m CPU, 256Mi memory``; empty when nothing is occupied."""
        if not self.running_pods:
            return ""
        cpu, memory = self.cpu_millicores, self.memory_bytes
        parts = [f"{self.running_pods} pod{'' if self.running_pods == 1 else 's'}"]
        parts += [f"{cpu // 1000 if cpu % 1000 == 0 else f'{cpu}m'} CPU"] if cpu else []
        parts += [f"{-(-memory // _MEBIBYTE)}Mi memory"] if memory else []
        return ", ".join(parts)


def total(parts: Iterable[Occupied]) -> Occupied:
    """All of them together."""
    every = list(parts)
    return Occupied(
        running_pods=sum(part.running_pods for part in every),
        cpu_millicores=sum(part.cpu_millicores for part in every),
        memory_bytes=sum(part.memory_bytes for part in every),
        at=max((part.at for part in every if part.at is not None), default=None),
    )
