"""The stand-in provider: an OpenAI-compatible server that misbehaves on demand.

A test double for the gateway's tests, demo, load tests and chaos experiments. It
injects nothing into a network: what breaks here is one provider's own behaviour.

    async with StandIn(name="alpha") as provider:
        provider.fault = Fault("status", code=503, retry_after_s=2)
        ...                                  # requests to provider.base_url
        [record] = await provider.settled(1)
        assert record.outcome == "faulted"

On the command line: `python -m loadtest.provider --help`.
"""

from loadtest.provider.faults import KINDS, Fault, InvalidFault
from loadtest.provider.journal import Outcome, Record
from loadtest.provider.stand_in import StandIn

__all__ = ["KINDS", "Fault", "InvalidFault", "Outcome", "Record", "StandIn"]
