"""`cleanup-cli demo`: the whole idea on a small cluster made for the occasion.

Its cluster, service, ledger and folder are its own; it touches nothing of the user's and leaves nothing.
"""
