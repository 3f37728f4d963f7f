"""What a request may say about the connection."""

from types import SimpleNamespace
from typing import Any

import pytest
from cc_tuning_vllm.request_mode import RequestMode


@pytest.mark.parametrize("extra_args", [None, {}, {"connection": "transform"}])
def test_a_request_is_connected_at_the_end_of_its_prompt_unless_it_says_otherwise(extra_args: Any) -> None:
    assert RequestMode.asked(extra_args, prompt_length=10, offset=1) == RequestMode("transform", 8)


def test_a_request_that_is_off_has_no_place() -> None:
    mode = RequestMode.asked({"connection": "off"}, prompt_length=1, offset=4)
    assert not mode.is_connected
    assert mode.token == -1


@pytest.mark.parametrize(
    ("extra_args", "named"),
    [
        ({"connection": "on"}, "connection='on'"),
        ({"conection": "off"}, "the switch 'conection'"),
        ({"english": [1, 2]}, "does not read English prompts"),
        ({"connection_token": 3}, "the switch 'connection_token'"),
    ],
)
def test_a_switch_that_does_not_exist_is_refused_by_name(extra_args: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RequestMode.asked(extra_args, prompt_length=10, offset=0)


def test_a_prompt_without_t_star_is_refused() -> None:
    with pytest.raises(ValueError, match="no token 2 before its last"):
        RequestMode.asked(None, prompt_length=2, offset=2)


@pytest.mark.parametrize("asked", [{"connection": "off"}, {"connection": "identity"}, {}])
def test_the_engine_is_told_what_was_asked(asked: dict[str, str]) -> None:
    mode = RequestMode.asked(asked, prompt_length=7, offset=0)
    assert RequestMode.of(SimpleNamespace(extra_args=mode.extra_args)) == mode


def test_requests_of_other_models_are_told_nothing_and_a_connected_model_takes_none_of_them() -> None:
    parameters = SimpleNamespace(extra_args=None)
    assert RequestMode.told(parameters) is None
    with pytest.raises(RuntimeError, match="past the entrance"):
        RequestMode.of(parameters)
