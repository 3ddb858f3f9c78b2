"""The schedule of retries, with the random number passed in."""

from __future__ import annotations

from datetime import timedelta

from cleanup_scheduler.domain.backoff import retry_delay
from hypothesis import given
from hypothesis import strategies as st


def delays(jitter: float, attempts: int = 6) -> list[float]:
    return [
        retry_delay(n, first_seconds=1, max_seconds=10, jitter=jitter).total_seconds()
        for n in range(1, attempts + 1)
    ]


def test_the_delay_doubles_up_to_the_longest_and_jitter_takes_at_most_half_of_it() -> None:
    assert delays(1.0) == [1, 2, 4, 8, 10, 10]
    assert delays(0.0) == [0.5, 1, 2, 4, 5, 5]


@given(
    attempt=st.integers(1, 10_000),
    first=st.floats(0.001, 100),
    longest=st.floats(0.001, 10_000),
    jitter=st.floats(0, 1, exclude_max=True),
    floor=st.floats(0, 10_000),
)
def test_it_never_waits_less_than_the_server_asked_nor_longer_than_both_limits(
    attempt: int, first: float, longest: float, jitter: float, floor: float
) -> None:
    delay = retry_delay(attempt, first_seconds=first, max_seconds=longest, jitter=jitter, floor_seconds=floor)
    assert timedelta(seconds=floor) <= delay <= timedelta(seconds=max(longest, floor))
