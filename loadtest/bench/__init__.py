"""Measurements of parts, in one process and without a network."""
