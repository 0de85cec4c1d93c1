"""Runs the chaos experiments that have a local form and reports what they showed.

It starts the parts (stand-in providers, Toxiproxy, a gateway, k6), hands k6 the numbers
of the experiment and collects its verdict. It injects nothing and judges nothing
itself: Toxiproxy injects, k6 commands it and judges.
"""
