"""What a provider calls its model may be any text; a header may not."""

from urllib.parse import unquote

import pytest

from loadtest.provider import StandIn
from tests.support.configs import gateway_yaml
from tests.support.gateway import RunningGateway

NAMES = {
    "beyond latin": "模型-8b",
    "accents": "modèle",
    "spaces": "my model",
    "%": "a%41",
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("model", NAMES.values(), ids=NAMES)
async def test_a_model_of_any_name_answers_and_is_named(
    model: str, stream: bool
) -> None:
    async with StandIn(name="alpha", tokens=3) as alpha:
        config = gateway_yaml({"a": alpha.base_url}, {"chat": [f"a/{model}"]})
        async with RunningGateway(config) as gateway:
            answer = await gateway.chat("chat", stream=stream)
            assert answer.complete
            assert unquote(answer.headers["x-gateway-target"]) == f"a/{model}"
            gateway.assert_nothing_held()
