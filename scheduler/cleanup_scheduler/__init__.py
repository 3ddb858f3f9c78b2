"""Cleans up what tests leave behind in Kubernetes, from a durable ledger, and can prove every step.

A test says what it created and how it ended; the ledger remembers; the scheduler makes the cluster match
the policy. See ``docs/guide.md`` for the way of the data.
"""
