"""What a request may say about the connection."""

from types import SimpleNamespace
from typing import Any

import pytest
from cc_tuning_vllm.request_mode import Limits, RequestMode


def limits(offset: int) -> Limits:
    return Limits(offset, vocabulary=100, longest=8)


@pytest.mark.parametrize("extra_args", [None, {}, {"connection": "transform"}])
def test_a_request_is_connected_at_the_end_of_its_prompt_unless_it_says_otherwise(extra_args: Any) -> None:
    assert RequestMode.asked(extra_args, 10, limits(1)) == RequestMode("transform", 8)


def test_a_request_that_is_off_has_no_place() -> None:
    mode = RequestMode.asked({"connection": "off"}, 1, limits(4))
    assert not mode.is_connected
    assert mode.token == -1


@pytest.mark.parametrize(
    ("extra_args", "named"),
    [
        ({"connection": "on"}, "connection='on'"),
        ({"connected": "off"}, "the switch 'connected'"),
        ({"english": "What?"}, "'english' with a str"),
        ({"english": [1, 100]}, "each below 100"),
        ({"english": [1.5]}, "'english' with 1 entries"),
        ({"english": []}, "1 to 8 of them"),
        ({"english": [1] * 9}, "'english' with 9 entries"),
        ({"english": [1, 2], "connection": "off"}, "connection='off' and 'english'"),
        ({"connection": "parallel"}, "connection='parallel' without 'english'"),
        ({"connection_token": 3}, "the switch 'connection_token'"),
    ],
)
def test_a_switch_that_does_not_exist_is_refused_by_name(extra_args: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RequestMode.asked(extra_args, 10, limits(0))


def test_a_prompt_without_t_star_is_refused() -> None:
    with pytest.raises(ValueError, match="no token 2 before its last"):
        RequestMode.asked(None, 2, limits(2))


def test_an_english_prompt_is_read_up_to_its_t_star() -> None:
    mode = RequestMode.asked({"english": [5, 6, 7]}, 10, limits(1))
    assert (mode.mode, mode.token, mode.english) == ("parallel", 8, (5, 6))
    assert mode.keeps_own


def test_what_is_cached_behind_t_star_is_told_apart_by_all_that_it_depends_on() -> None:
    asked: list[dict[str, Any]] = [{}, {"connection": "identity"}, {"english": [5, 6]}, {"english": [5, 7]}]
    keys = {RequestMode.asked(extra_args, length, limits(0)).cache_key for extra_args in asked for length in (9, 10)}
    assert len(keys) == 2 * len(asked)


@pytest.mark.parametrize("asked", [{"connection": "off"}, {"connection": "identity"}, {}, {"english": [3, 4]}])
def test_the_engine_is_told_what_was_asked(asked: dict[str, Any]) -> None:
    mode = RequestMode.asked(asked, 7, limits(0))
    assert RequestMode.of(SimpleNamespace(extra_args=mode.extra_args)) == mode


def test_requests_of_other_models_are_told_nothing_and_a_connected_model_takes_none_of_them() -> None:
    parameters = SimpleNamespace(extra_args=None)
    assert RequestMode.told(parameters) is None
    with pytest.raises(RuntimeError, match="past the entrance"):
        RequestMode.of(parameters)
