"""Resilience for any async operation: breaker, bulkhead, retry, timeouts, chains.

It imports the standard library, tenacity and aiobreaker, and nothing else; it does no
I/O, and knows neither HTTP nor language models beyond the words *token* and *target*.
"""
