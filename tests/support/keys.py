"""The clients' keys that the tests use; they open nothing but these gateways."""

from hashlib import sha256

KEY = "bw-test-of-everything"
OTHER_KEY = "bw-test-of-one-route"


def digest(key: str) -> str:
    """What gateway.yaml holds of `key`."""
    return sha256(key.encode()).hexdigest()
