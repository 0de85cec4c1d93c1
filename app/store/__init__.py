"""The connection to Redis or Valkey. Losing it stops nothing."""
