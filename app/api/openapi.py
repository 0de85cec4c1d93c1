"""What FastAPI cannot read from the code: bodies that pass through unmodelled.

Rule: description only; nothing here is executed on a request.
"""

from typing import Any

_ERROR = {
    "description": "An error, in OpenAI's form.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "type", "param", "requestId"],
            "properties": {
                "code": {"type": "string", "examples": ["rate_limit_exceeded"]},
                "message": {"type": "string"},
                "type": {"type": "string", "examples": ["rate_limit_error"]},
                "param": {"type": ["string", "null"], "examples": ["messages"]},
                "requestId": {"type": "string", "examples": ["req_5f2c…"]},
            },
        }
    },
}

_CHAT_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages"],
    "additionalProperties": True,
    "properties": {
        "model": {
            "type": "string",
            "minLength": 1,
            "description": "The route, as GET /v1/models lists them.",
            "examples": ["chat"],
        },
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role"],
                "properties": {"role": {"type": "string"}},
                "additionalProperties": True,
            },
        },
        "stream": {"type": ["boolean", "null"], "default": False},
        "stream_options": {
            "type": ["object", "null"],
            "properties": {"include_usage": {"type": "boolean"}},
        },
        "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128},
    },
}

CHAT_OPERATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _CHAT_REQUEST,
                "example": {
                    "model": "chat",
                    "messages": [{"role": "user", "content": "Hello"}],
                },
            }
        },
    },
    "responses": {
        "200": {
            "description": "The answer: a chat.completion, or server-sent events.",
            "headers": {
                "x-gateway-target": {
                    "description": "Who answered: provider/model.",
                    "schema": {"type": "string"},
                },
                "x-gateway-attempts": {
                    "description": "How many sends to providers it took.",
                    "schema": {"type": "integer"},
                },
                "x-gateway-fallback": {
                    "description": "Whether that was not the route's first target.",
                    "schema": {"type": "string", "enum": ["true", "false"]},
                },
            },
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        **dict.fromkeys(
            ("400", "401", "403", "404", "413", "429", "431", "502", "503", "504"),
            _ERROR,
        ),
    },
}
