"""cleanup-cli: the face for people. Reads the ledger, appends what people decide, never touches a cluster."""
