"""The control endpoint: the live fault and the log, over HTTP.

Control requests are answered at once, whatever the fault, and never logged.
"""

from typing import Any
from urllib.parse import parse_qs

import orjson

from loadtest.provider.faults import InvalidFault, fault_from_json
from loadtest.provider.script import Script, whole
from loadtest.provider.service import Request, Service

PREFIX = "/control/"


def control(service: Service, request: Request) -> Script:
    """Do what a control request says, and answer it."""
    match request.method, request.path:
        case "PUT", "/control/fault":
            return _set_fault(service, request.body)
        case "DELETE", "/control/fault":
            service.switch.set(None)
            return _shown_fault(service)
        case "GET", "/control/fault":
            return _shown_fault(service)
        case "GET", "/control/log":
            return _shown_log(service, request.query)
        case "DELETE", "/control/log":
            service.journal.clear()
            return _json(200, {"count": 0})
        case _:
            valid = ["PUT|GET|DELETE /control/fault", "GET|DELETE /control/log"]
            return _refused(404, f"no {request.method} {request.path}", valid)


def _set_fault(service: Service, body: bytes) -> Script:
    try:
        service.switch.set(fault_from_json(orjson.loads(body)))
    except orjson.JSONDecodeError:
        return _refused(400, "the body is not JSON", [])
    except InvalidFault as invalid:
        return _refused(400, str(invalid), invalid.valid)
    return _shown_fault(service)


def _shown_fault(service: Service) -> Script:
    fault = service.switch.current
    return _json(200, {"fault": None if fault is None else fault.as_dict()})


def _shown_log(service: Service, query: str) -> Script:
    """The log; `?limit=n` shows the newest n records only."""
    journal = service.journal
    records = [*journal.records]
    limit = parse_qs(query).get("limit", [""])[0]
    if limit:
        if not limit.isdecimal():
            return _refused(400, f"limit: {limit!r} is not accepted", ["0, 1, 2, …"])
        records = records[len(records) - min(int(limit), len(records)) :]
    document = {
        "requests": [record.as_dict() for record in records],
        "count": journal.count,
        "outcomes": dict(journal.outcomes),
        "requests_in_flight": journal.in_flight,
        "connections_open": service.connections_open,
        "connections_total": service.connections_total,
    }
    return _json(200, document)


def _refused(status: int, message: str, valid: list[str]) -> Script:
    error = {"code": "invalid_request", "message": message, "valid": valid}
    return _json(status, {"error": error})


def _json(status: int, document: dict[str, Any]) -> Script:
    return whole(status, orjson.dumps(document))
