"""The request path: from an authenticated request to an opened reply."""
