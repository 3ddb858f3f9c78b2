"""A real Kubernetes to develop and test against: built from source once, started and stopped by one command.

``python -m tools.cluster up | down | status | build``; ``docs/real-cluster.md`` says what it is made of.
"""
