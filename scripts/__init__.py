"""Programs for developers, behind the targets of the Makefile; no part of the gateway.

The rule they keep: `python -m scripts.<name>` runs one; what it started it ends, by
process id. Nothing of `app` or `resilience` imports from here.
"""
