"""What `cc-tuning-vllm serve` refuses, and what passes a server that asks for a key."""

import asyncio
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from cc_tuning_vllm.key_guard import KEY_VARIABLE, KeyGuard
from cc_tuning_vllm.serve import checked, is_loopback

KEY = {KEY_VARIABLE: "secret"}
GUARD = "cc_tuning_vllm.key_guard.KeyGuard"


def options(**given: Any) -> Namespace:
    """Options of `vllm serve` as its parser leaves them, those that are looked at."""
    left = {"host": "127.0.0.1", "uds": None, "api_key": None, "grpc": False, "grpc_port": None, "middleware": []}
    return Namespace(**({"model": "org/name", "model_tag": None} | left | given))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_an_address_that_only_this_machine_reaches_needs_no_key(host: str) -> None:
    assert checked(options(host=host), {}).middleware == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", ""])
@pytest.mark.parametrize("environment", [{}, {KEY_VARIABLE: ""}, {KEY_VARIABLE: " "}])
def test_an_address_that_others_reach_is_refused_without_a_key(host: str, environment: dict[str, str]) -> None:
    assert not is_loopback(host)
    with pytest.raises(ValueError, match=f"set the variable {KEY_VARIABLE}"):
        checked(options(host=host), environment)


def test_a_key_is_asked_for_before_all_other_middleware() -> None:
    assert checked(options(host="0.0.0.0", middleware=["a.B"]), KEY).middleware == ["a.B", GUARD]


def test_a_socket_in_the_file_system_is_no_address() -> None:
    assert checked(options(host="0.0.0.0", uds="/run/cc.sock"), {}).middleware == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"api_key": ["secret"]}, "list of processes"),
        ({"grpc": True}, "gRPC would be open"),
        ({"grpc_port": 1}, "gRPC would be open"),
    ],
)
def test_what_would_show_or_pass_by_the_key_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        checked(options(**given), KEY)


def test_a_directory_without_a_connection_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match="cc-tuning export"):
        checked(options(model_tag=str(tmp_path)), {})
    (tmp_path / "config.json").write_text(json.dumps({"cc_tuning": {}}))
    assert checked(options(model_tag=str(tmp_path)), {}).model_tag == str(tmp_path)


def status_of(scope: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """What a request gets whose application behind the guard answers 200."""
    monkeypatch.setenv(KEY_VARIABLE, KEY[KEY_VARIABLE])
    sent: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def keep(message: dict[str, Any]) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "POST", "path": "/v1/models", "headers": []} | scope
    asyncio.run(KeyGuard(application)(asked, None, keep))  # type: ignore[arg-type]
    return int(sent[0].get("status") or sent[0]["code"])


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/tokenize", "/invocations", "/health/", "//health", "/"])
def test_every_path_but_health_asks_for_the_key(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = [(b"authorization", b"Bearer secret")]
    assert status_of({"path": path}, monkeypatch) == 401
    assert status_of({"path": path, "headers": right}, monkeypatch) == 200
    assert status_of({"path": "/health"}, monkeypatch) == 200


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer secre")],
        [(b"authorization", b"Bearer secret ")],
        [(b"authorization", b"secret")],
        [(b"authorization", b"Basic secret")],
        [(b"authorization", b"Bearer wrong"), (b"authorization", b"Bearer secret")],
        [(b"x-api-key", b"secret")],
    ],
)
def test_a_key_that_is_not_the_right_one_does_not_pass(
    headers: list[tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status_of({"headers": headers}, monkeypatch) == 401


def test_a_socket_of_the_web_is_closed_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status_of({"type": "websocket", "path": "/v1/realtime"}, monkeypatch) == 1008
