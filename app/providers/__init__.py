"""Wire dialects of providers: pure translation between bytes and the domain.

Rule: no I/O, no clock, no HTTP client. A dialect builds a request, and parses what
comes back; sending, waiting and deciding what to do about an error happen elsewhere.
"""
