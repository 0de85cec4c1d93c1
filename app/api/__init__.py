"""The HTTP face of the gateway: the only importer of FastAPI and Starlette."""
