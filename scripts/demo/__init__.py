"""An outage to watch: a provider is killed, and requests go on being answered.

Three stand-in providers, a gateway and a steady stream of requests; every answer is
checked token by token. It proves nothing about load; `make chaos` and `make bench` do.
"""
