"""Vectors that depend on nothing but the text: same text, same vector, any process."""

from array import array
from base64 import b64encode
from hashlib import shake_256
from math import sqrt
from sys import byteorder

_BYTES_PER_NUMBER = 4


def unit_vector(text: str, dimensions: int) -> "array[float]":
    """A vector of length 1 in float32, derived from a hash of `text`."""
    digest = shake_256(text.encode()).digest(dimensions * _BYTES_PER_NUMBER)
    raw = [
        int.from_bytes(digest[at : at + _BYTES_PER_NUMBER], "little", signed=True)
        for at in range(0, len(digest), _BYTES_PER_NUMBER)
    ]
    length = sqrt(sum(number * number for number in raw)) or 1.0
    return array("f", [number / length for number in raw])


def vector_base64(vector: "array[float]") -> str:
    """The little-endian float32 form that OpenAI sends as base64."""
    if byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return b64encode(vector.tobytes()).decode()
