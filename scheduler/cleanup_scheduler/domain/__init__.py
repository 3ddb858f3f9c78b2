"""The pure core: events, the fold that makes state of them, the policy that decides, the backoff.

No clock, no I/O, nothing of ours imported: time and settings are passed in.
"""
