"""What a client may still use: limits, held before a call and settled after it."""
