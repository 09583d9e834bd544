"""The listener around a chain: what it refuses."""

import pytest

from farfield import Chain, load_model, load_profile
from farfield.capture.listener import Listener


def test_a_chain_that_makes_up_what_was_lost_is_refused():
    models = [load_model("alexa")]
    with pytest.raises(ValueError, match="wanted bridges=False"):
        Listener(Chain(load_profile("single"), models))
    with Listener(Chain(load_profile("single"), models, bridges=False)) as listener:
        assert listener.chain.bridge is None
