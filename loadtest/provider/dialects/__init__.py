"""Dialects: scripted answers rendered into the bytes of one provider's API.

A dialect is pure: no sockets, no faults, no clock. It offers its endpoints by method
and path; another API is one more module here, and a row in `ALL`.
"""

from loadtest.provider.dialects import openai
from loadtest.provider.dialects.protocol import Dialect, Endpoint, Frames

ALL: tuple[Dialect, ...] = (openai.DIALECT,)

__all__ = ["ALL", "Dialect", "Endpoint", "Frames"]
