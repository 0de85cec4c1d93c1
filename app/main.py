"""The ASGI entry, `uvicorn app.main:app`: serves $GATEWAY_CONFIG or gateway.yaml."""

import sys

from app.composition import create_app
from app.config import ConfigError, config_path, load

try:
    app = create_app(load(config_path()))
except ConfigError as exc:
    sys.exit(str(exc))
