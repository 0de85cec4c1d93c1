"""Who may call: clients' keys, known by their hashes only."""
