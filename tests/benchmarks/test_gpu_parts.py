"""What the parts of the GPU benchmark compute, against the library, torch's own counts and closed forms."""

import json
import math
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cc_tuning.model import CrossLingualModel
from tests.model.tiny_connected import left_padded, random_prompts, tiny_base, tiny_model

Benchmark = Callable[[str], ModuleType]

PROMPTS = random_prompts((5, 11, 8))
RESPONSES = random_prompts((6, 2, 4), seed=4)
ENGLISH = random_prompts((7, 4, 9), seed=5)


@pytest.fixture
def batch(benchmark: Benchmark) -> dict[str, torch.Tensor]:
    rows = benchmark("gpu_parts.rows")
    triples = zip(PROMPTS, RESPONSES, ENGLISH, strict=True)
    collated: dict[str, torch.Tensor] = rows.Collator(0, 0, "cpu")(
        [rows.Row(prompt + response, len(prompt), english) for prompt, response, english in triples]
    )
    return collated


def log_likelihoods(benchmark: Benchmark, model: CrossLingualModel, batch: Any, source: str) -> torch.Tensor:
    likelihood = benchmark("gpu_parts.likelihood")
    with torch.no_grad():
        logits, _ = likelihood.connected_logits(model, batch, source)
    found: torch.Tensor = likelihood.log_likelihood_of(logits, batch["labels"])
    return found


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_parallel_likelihood_is_that_of_the_training_pass(benchmark: Benchmark, batch: Any, family: str) -> None:
    model = tiny_model(family)
    with torch.no_grad():
        loss = model(**batch, logits_to_keep=batch["labels"].shape[1]).loss
    tokens = sum(map(len, RESPONSES))
    assert float(log_likelihoods(benchmark, model, batch, "parallel").sum()) == pytest.approx(-tokens * float(loss))


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_transform_likelihood_is_that_of_generation(benchmark: Benchmark, batch: Any, family: str) -> None:
    """Token by token: `generate` is made to say the response, and asked for the logits it said it with."""
    model = tiny_model(family)
    got = log_likelihoods(benchmark, model, batch, "transform")
    for prompt, response, of_row in zip(PROMPTS, RESPONSES, got, strict=True):

        def forced(row: int, ids: torch.Tensor, start: int = len(prompt), response: list[int] = response) -> list[int]:
            return [response[len(ids) - start]]

        output = model.generate(
            **left_padded([prompt]), max_new_tokens=len(response), do_sample=False, prefix_allowed_tokens_fn=forced,
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        steps = torch.cat(output.logits).log_softmax(-1)
        assert output.sequences[0, len(prompt) :].tolist() == response
        assert float(of_row) == pytest.approx(float(steps[torch.arange(len(response)), response].sum()), rel=1e-5)


def test_other_english_is_another_rows_and_never_the_same(benchmark: Benchmark) -> None:
    rows, likelihood = benchmark("gpu_parts.rows"), benchmark("gpu_parts.likelihood")
    given = [rows.Row([1, 2], 1, english) for english in ([5], [5], [6], [7])]
    assert [row.english_input_ids for row in likelihood.with_other_english(given)] == [[6], [6], [7], [5]]
    with pytest.raises(ValueError, match="same English prompt"):
        likelihood.with_other_english(given[:2])


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_counted_flops_are_those_that_torch_counts(benchmark: Benchmark, family: str) -> None:
    """Of a single token, where causal attention is full attention; torch counts the eager one."""
    base = tiny_base(family, attn_implementation="eager")
    flops = benchmark("gpu_parts.flops").StepFlops.of(base)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        base(input_ids=torch.tensor([[3]]), use_cache=False)
    assert counter.get_total_flops() == flops.layers(1) + flops.head


def test_sides_take_turns_to_be_first(benchmark: Benchmark) -> None:
    called: list[str] = []
    sides = {name: lambda name=name: called.append(name) for name in "abc"}
    timings = benchmark("timing").in_turn(sides, rounds=3, seconds=60)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(rounds) for name, rounds in timings.items()} == {"a": 3, "b": 3, "c": 3}


def test_two_rounds_are_timed_however_little_time_there_is(benchmark: Benchmark) -> None:
    timings = benchmark("timing").in_turn({"a": lambda: None, "b": lambda: None}, rounds=9, seconds=0)
    assert len(timings["a"]) == len(timings["b"]) == 2


@pytest.fixture
def board(benchmark: Benchmark, tmp_path: Path) -> Any:
    options = benchmark("gpu_parts.options").Options.of(
        Namespace(shape="tiny", output=tmp_path, model=None, rows=None, chat_template="tokenizer", learning_rate=1e-5)
    )
    return benchmark("gpu_parts.board").Board("fit", options, until=math.inf)


def written(folder: Path) -> list[dict[str, Any]]:
    content = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    return content["rows"]  # type: ignore[no-any-return]


def test_figures_are_on_disk_before_and_after_an_error(board: Any, tmp_path: Path) -> None:
    board.add("first", seconds=1.5)
    assert written(tmp_path) == [{"name": "first", "seconds": 1.5}]
    with board.attempted("second"):
        raise RuntimeError("no such kernel")
    board.check("third", 0.2, tolerance=0.1)
    assert [row["name"] for row in written(tmp_path)] == ["first", "second", "third"]
    assert written(tmp_path)[1]["error"] == "RuntimeError: no such kernel"
    assert written(tmp_path)[2]["holds"] is False
    assert board.failures == ["second", "third"]


def test_too_large_a_batch_is_measured_with_fewer_rows(benchmark: Benchmark, board: Any, tmp_path: Path) -> None:
    training, sizes = benchmark("gpu_parts.training"), benchmark("gpu_parts.options").SIZES["tiny"]
    model = tiny_model("llama").train()

    def refuse(module: Any, inputs: Any, arguments: dict[str, torch.Tensor]) -> None:
        if arguments["attention_mask"].shape[0] > 2:
            raise torch.OutOfMemoryError("four rows do not fit")

    model.base.register_forward_pre_hook(refuse, with_kwargs=True)
    ways = (training.CONNECTED, training.RESPONSE)
    optimizer = training.trained_by("adafactor", model.parameters())
    training.Steps("llama", model, optimizer, ways, replace(sizes, rows=(4, 2)), board).measure(8, seconds=0)
    names = [row["name"].removeprefix("llama, ") for row in written(tmp_path)]
    assert names == [
        "4 rows, English 8", "2 rows, English 8: CC-Tuning", "2 rows, English 8: ML-SFT",
        "2 rows, English 8: optimizer", "2 rows, English 8: CC-Tuning / ML-SFT",
    ]  # fmt: skip
    assert written(tmp_path)[0]["does_not_fit"] == "four rows do not fit"
    assert board.failures == []
