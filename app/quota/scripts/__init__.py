"""Lua scripts, one file each, run atomically by the store."""
