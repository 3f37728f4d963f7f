"""What a plan says a step costs: closed forms on known sizes, nothing for what is there, flags at the boundary."""

from dataclasses import replace
from pathlib import Path

import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.arithmetic import activation_bytes, state_bytes, training_flops
from cc_tuning.pipeline.costs import NOTHING, Cost, estimate_costs, training_cost
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.model_shapes import ModelShape, shape_of
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.pipeline.training_cost import TrainingWork, what_fits
from cc_tuning.runtime.device_table import DEVICES, Device, find_device
from cc_tuning.runtime.execution import Execution
from cc_tuning.training.config import LoraConfig, TrainingConfig

SMALLEST = Path(__file__).resolve().parents[1] / "flows" / "smallest.yaml"
SEVEN = ModelShape(parameters=7_000_000_000, layers=32, hidden_size=4096, key_value_size=1024)
H100 = DEVICES["h100"]


def planned(*overrides: str) -> Plan:
    return plan_recipe(load_recipe(SMALLEST, overrides), sources_may_be_missing=True, hash_sources=False)


def work(execution: Execution | None = None, **training: object) -> TrainingWork:
    """A training of 1,280 rows of 320 tokens, 3 epochs, in steps of 128 rows."""
    return TrainingWork(
        shape=SEVEN, training=TrainingConfig.model_validate(training), execution=execution or Execution(), rows=1280,
        row_tokens=320, sequences=1, english_tokens=0, longest=1024,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "optimizer", "rank", "shards", "expected"),
    [
        ("float32", "adamw", 0, 1, 7e9 * 16),  # weight 4, gradient 4, two moments 8
        ("bfloat16", "adamw", 0, 1, 7e9 * 18),  # and its copy in bfloat16
        ("float32", "adafactor", 0, 1, 7e9 * 8),
        ("float32", "adamw", 0, 8, 7e9 * 16 / 8 + 2 * 4 * 7e9 / 32),  # and two whole layers of 32
        ("bfloat16", "adamw", 8, 1, 7e9 * 2 + 16 * 8 * 22 * 4096 * 32),
    ],
)
def test_states_of_a_7b_are_the_bytes_of_its_numbers(
    dtype: str, optimizer: str, rank: int, shards: int, expected: float
) -> None:
    assert state_bytes(SEVEN, dtype, optimizer, rank, shards) == pytest.approx(expected)  # type: ignore[arg-type]


def test_full_training_takes_six_operations_a_parameter_and_token_and_the_english_pass_two() -> None:
    assert training_flops(7e9, 1_000, 0) == 6 * 7e9 * 1_000
    assert training_flops(7e9, 1_000, 500) == 6 * 7e9 * 1_000 + 2 * 7e9 * 500
    assert training_flops(7e9, 1_000, 0, trained_share=0) == 4 * 7e9 * 1_000
    assert training_flops(7e9, 1_000, 0, recomputed=True) == 8 * 7e9 * 1_000


def test_recomputed_layers_keep_two_bytes_a_number_and_one_layer() -> None:
    whole = activation_bytes(SEVEN, "bfloat16", 100, recomputed=False)
    assert whole == 34 * 100 * 4096 * 32
    assert activation_bytes(SEVEN, "bfloat16", 100, recomputed=True) == 2 * 100 * 4096 * 32 + 34 * 100 * 4096
    assert activation_bytes(SEVEN, "float32", 100, recomputed=False) == 2 * whole


def test_seconds_of_a_training_are_its_operations_by_what_the_device_reaches() -> None:
    tokens = 1280 * 320 * 3
    expected = 6 * 7e9 * tokens / (0.5 * 989e12) + 30 * 28 * 7e9 / 3350e9  # 30 optimizer steps of 28 bytes
    assert work().seconds(H100) == pytest.approx(expected)


def test_a_small_model_takes_a_pass_however_few_tokens_it_has() -> None:
    tiny = replace(work(), shape=ModelShape(1_000_000, 4, 96, 96))
    batches = 1280 * 320 * 3 / (16 * 320)
    assert tiny.seconds(H100) == pytest.approx(batches * 3 * 0.022, rel=0.01)
    assert replace(tiny, english_tokens=100).seconds(H100) == pytest.approx(batches * 4 * 0.022, rel=0.01)


def test_memory_was_measured_within_a_fifth() -> None:
    """47 GiB: Llama 3.1 8B, weights and gradients in bfloat16, no moments, 16 rows of 320 tokens on an H100."""
    llama = ModelShape(8_030_000_000, 32, 4096, 1024)
    counted = 4 * llama.parameters + activation_bytes(llama, "bfloat16", 16 * 320, recomputed=False) + 4 * 2**28
    assert counted / 2**30 == pytest.approx(47, rel=0.2)


@pytest.mark.parametrize("more", [0, -1], ids=["fits", "does not"])
def test_what_needs_one_byte_more_than_there_is_is_flagged(more: int) -> None:
    needed = work(Execution(gradient_checkpointing=True)).memory_bytes
    exact = replace(H100, memory_bytes=needed + more)
    advice = training_cost(work(Execution(gradient_checkpointing=True)), exact).advice
    assert bool(advice) == (more < 0)


@pytest.mark.parametrize("memory", [24e9, 40e9, 80e9, 141e9])
def test_what_is_advised_fits(memory: float) -> None:
    words = what_fits(work(), memory)
    assert "execution." in words
    changed: dict[str, str] = {}
    for words_of_way in words.removeprefix("set ").split(", or ")[:1]:
        pairs = words_of_way.replace(" (another training)", "").replace(",", " and").split(" and ")
        changed |= dict(pair.strip().split("=") for pair in pairs)
    training = TrainingConfig(lora=LoraConfig(rank=int(changed.pop("training.lora.rank", 0))))
    training = training.model_copy(update={"optimizer": changed.pop("training.optimizer", "adamw")})
    execution = Execution.model_validate({key.removeprefix("execution."): value for key, value in changed.items()})
    assert replace(work(execution), training=training).memory_bytes <= memory < work().memory_bytes


def costs(device: Device, *overrides: str, finished: tuple[str, ...] = ()) -> dict[str, Cost]:
    """By label of the step."""
    plan = planned(*overrides)
    hits = {step.fingerprint for step in plan if step.stage.name in finished}
    found = estimate_costs(plan, hits, device)
    return {step.label: found[step.fingerprint] for step in plan}


def test_what_the_store_has_costs_nothing() -> None:
    found = costs(H100, finished=("select", "train"))
    assert found["select"] == found["train cc-tuning"] == NOTHING
    assert (found["evaluate cc-tuning"].seconds or 0) > 0


@pytest.mark.parametrize(
    ("key", "smaller", "larger", "stage"),
    [
        ("data.rows", 40, 4_000, "translate"),
        ("data.rows", 40, 4_000, "train cc-tuning"),
        ("training.epochs", 1, 9, "train cc-tuning"),
        ("evaluation.max_new_tokens", 4, 400, "evaluate cc-tuning"),
        ("translation.beams", 1, 4_000, "translate"),
    ],
)
def test_more_work_takes_longer(key: str, smaller: int, larger: int, stage: str) -> None:
    rows = ["miniature.world.instruction_rows=5000"]
    little, much = (costs(find_device("cpu"), *rows, f"{key}={value}")[stage] for value in (smaller, larger))
    assert little.seconds is not None and much.seconds is not None
    assert little.seconds < much.seconds


def test_a_run_with_the_connection_costs_more_than_one_without() -> None:
    found = costs(find_device("cpu"), "runs=[ml-sft, cc-tuning]", "data.rows=1000")
    for stage in ("train", "evaluate"):
        assert (found[f"{stage} ml-sft"].seconds or 0) < (found[f"{stage} cc-tuning"].seconds or 0)


def test_more_devices_are_faster_and_cost_their_number() -> None:
    one, eight = (training_cost(work(Execution(processes=n)), H100) for n in (1, 8))
    assert one.seconds is not None and eight.seconds is not None and eight.seconds < one.seconds
    assert eight.device_seconds == 8 * eight.seconds


def test_a_model_whose_size_nobody_says_costs_an_unknown_time() -> None:
    pinned = ["model.base=owner/nameless", "model.revision=abc"]
    assert costs(H100, *pinned)["train cc-tuning"] == Cost()


def test_the_shape_of_a_hub_model_is_near_its_real_one() -> None:
    llama = shape_of("meta-llama/Llama-3.1-8B")
    assert llama is not None
    assert llama.layers == pytest.approx(32, rel=0.1) and llama.hidden_size == pytest.approx(4096, rel=0.1)


def test_an_unknown_device_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'h900' is not in the table.*h100"):
        find_device("h900")
