"""The ASGI entry, `uvicorn app.main:app`: serves $GATEWAY_CONFIG or gateway.yaml."""

import os
from pathlib import Path

from app.composition import create_app
from app.config import load

app = create_app(load(Path(os.environ.get("GATEWAY_CONFIG", "gateway.yaml"))))
