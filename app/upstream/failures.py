"""What can go wrong between the gateway's socket and a provider's, by phase.

One class per fact that the wire can show. `transport` gives each one the httpx
exception that stock httpx raises for the same behaviour of the peer; nothing above
the engine sees these classes. No HTTP library and no domain error belongs here.
"""


class WireFailure(Exception):
    """Base of everything the engine raises on purpose."""


class PoolTimedOut(WireFailure):
    """All connections were in use for the whole wait: our saturation, not theirs."""


class ConnectTimedOut(WireFailure):
    """Name look-up, TCP and TLS handshake together took longer than the limit."""


class ConnectFailed(WireFailure):
    """No connection: unknown name, refused, unreachable, reset or bad TLS."""


class WriteTimedOut(WireFailure):
    """The peer did not take the request in time."""


class ReadTimedOut(WireFailure):
    """The peer sent no byte in time, before or after the response's head."""


class ReadFailed(WireFailure):
    """The connection broke (reset, TLS fault) while we waited for the peer."""


class PeerGarbled(WireFailure):
    """What the peer sent is not an HTTP response, or ends before its own end."""


class PeerClosed(PeerGarbled):
    """The peer closed the connection in good order before any complete head."""


class RequestMisformed(WireFailure):
    """The request cannot be put on the wire; nothing was sent, the fault is ours."""


class SchemeUnknown(RequestMisformed):
    """The URL is neither http nor https."""
