"""Pure ASGI middleware, one per file; their order is in `api/app.py`."""
