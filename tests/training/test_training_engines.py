"""Whole trainings under an engine: ordinary checkpoints, and going on where another process stopped."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cc_tuning.errors import ConfigError
from cc_tuning.model.connection import load_checkpoint
from cc_tuning.text.prompts import load_tokenizer
from cc_tuning.training.distributed import as_launched, check_engine
from cc_tuning.training.models import build_model
from cc_tuning.training.trainer_checkpoints import find_damage
from cc_tuning.training.worker import train
from tests.training.jobs import MakeJob, column, difference, keep_lines, needs_deepspeed, needs_peft, resuming, tensors
from tests.training.launching import run_on_ranks

SEVERAL = "tests.training.several_jobs"
RANKS = {"processes": 2, "device_batch_size": 2}


@pytest.mark.slow
def test_fsdp2_trains_to_the_weights_of_ddp_and_goes_on_to_the_same_bits(make_job: MakeJob) -> None:
    cc = {"kind": "cc", "weight_decay": 0.01}
    ddp = make_job("ddp", execution=RANKS, **cc)
    whole = make_job("whole", execution={**RANKS, "sharding": "fsdp2"}, **cc)
    resumed = resuming(make_job("resumed", execution={**RANKS, "sharding": "fsdp2"}, **cc), whole, 8)
    run_on_ranks(SEVERAL, [ddp, whole, resumed])
    assert difference(tensors(whole), tensors(ddp)) <= 1e-6
    assert difference(tensors(resumed), tensors(whole)) == 0.0
    assert column(whole, "loss") == pytest.approx(column(ddp, "loss"), rel=1e-5)
    assert find_damage(whole.folder / "trainer/checkpoint-8") is None
    shard = next((whole.folder / "trainer/checkpoint-8/pytorch_model_fsdp_0").glob("*.distcp"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "bytes, expected" in str(find_damage(whole.folder / "trainer/checkpoint-8"))
    assert load_checkpoint(whole.folder / "checkpoint").config.use_cache


@pytest.mark.slow
def test_resumed_on_another_number_of_ranks_every_step_has_the_same_rows(make_job: MakeJob) -> None:
    one, two = make_job("one", "cc"), make_job("two", "cc", RANKS)
    train(one)
    to_two = resuming(make_job("to two", "cc", RANKS), one, 8)
    keep_lines(one, to_two)
    run_on_ranks(SEVERAL, [two, to_two])
    to_one = resuming(make_job("to one", "cc"), two, 8)
    keep_lines(two, to_one)
    train(to_one)
    for job in (two, to_two, to_one):
        assert column(job, "loss") == pytest.approx(column(one, "loss"), rel=1e-5)
        assert difference(tensors(job), tensors(one)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_fsdp2_goes_on_with_the_same_rows_on_another_number_of_ranks(
    make_job: MakeJob, before: int, after: int
) -> None:
    whole = make_job("whole", "cc", {"processes": before, "sharding": "fsdp2"})
    resumed = resuming(make_job("resumed", "cc", {"processes": after, "sharding": "fsdp2"}), whole, 8)
    run_on_ranks(SEVERAL, [whole], before)
    keep_lines(whole, resumed)
    run_on_ranks(SEVERAL, [resumed], after)
    assert column(resumed, "loss") == pytest.approx(column(whole, "loss"), rel=1e-5)
    assert difference(tensors(resumed), tensors(whole)) <= 1e-5


@pytest.mark.slow
@needs_deepspeed
def test_zero3_trains_to_the_weights_of_ddp_and_goes_on_to_the_same_bits(make_job: MakeJob) -> None:
    ddp = make_job("ddp", "cc", RANKS)
    whole = make_job("whole", "cc", {**RANKS, "sharding": "zero3"})
    resumed = resuming(make_job("resumed", "cc", {**RANKS, "sharding": "zero3"}), whole, 8)
    run_on_ranks(SEVERAL, [ddp])
    run_on_ranks(SEVERAL, [whole, resumed])
    assert difference(tensors(whole), tensors(ddp)) <= 1e-5
    assert difference(tensors(resumed), tensors(whole)) == 0.0


def test_a_checkpoint_of_another_engine_is_refused(make_job: MakeJob) -> None:
    whole = make_job("whole")
    train(whole)
    sharded = resuming(make_job("sharded", execution={**RANKS, "sharding": "fsdp2"}), whole, 8)
    with pytest.raises(ConfigError, match=r"step 8 .* 'none' on 1 process\(es\), this run has 'fsdp2' on 2"):
        train(sharded)
    assert (whole.folder / "trainer/checkpoint-8").is_dir()


@pytest.mark.parametrize(
    ("execution", "training", "reason"),
    [
        ({"sharding": "fsdp2", "processes": 2}, {"optimizer": "adafactor"}, "use adamw"),
        ({"sharding": "zero3"}, {"validation_fraction": 0.1}, "set execution.sharding to fsdp2"),
        pytest.param(
            {"sharding": "zero3"}, {}, "DeepSpeed is not installed",
            marks=pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed"),
        ),
    ],
)  # fmt: skip
def test_what_an_engine_cannot_do_is_refused(
    make_job: MakeJob, execution: dict[str, object], training: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_engine(make_job("run", execution=execution, **training))


def test_the_launcher_decides_ranks_and_engine(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job("run", execution={"processes": 4})
    monkeypatch.setenv("WORLD_SIZE", "16")
    assert as_launched(job).execution.processes == 16
    assert as_launched(job).execution.sharding == "none"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert as_launched(job).execution.sharding == "fsdp2"


def test_adafactor_trains_with_little_state(make_job: MakeJob) -> None:
    """Its state for a matrix is a row and a column."""
    job = make_job("run", "cc", optimizer="adafactor")
    train(job)
    state = torch.load(job.folder / "trainer/checkpoint-12/optimizer.pt", weights_only=True)["state"]
    weights = sum(tensor.numel() for tensor in tensors(job).values())
    kept = sum(value.numel() for entry in state.values() for value in entry.values() if isinstance(value, Tensor))
    assert kept < weights / 10
    assert column(job, "loss")[-1] < column(job, "loss")[0] - 0.2


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_what_was_asked_for(make_job: MakeJob, attention: str) -> None:
    job = make_job("run", execution={"attention": attention})
    model = build_model(job, load_tokenizer(job.tokenizer))
    assert model.base.config._attn_implementation == attention


def test_attention_that_is_not_installed_is_named(make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match=r"execution\.attention is 'flash_attention_2'"):
        train(make_job("run", execution={"attention": "flash_attention_2"}))


@needs_peft
@pytest.mark.parametrize("kind", ["sft", "cc"])
def test_lora_goes_on_to_the_same_bits_and_its_checkpoint_is_the_merged_model(make_job: MakeJob, kind: str) -> None:
    lora = {"lora": {"rank": 4, "dropout": 0.1}}
    whole = make_job("whole", kind, **lora)
    train(whole)
    resumed = resuming(make_job("resumed", kind, **lora), whole, 8)
    train(resumed)
    assert difference(tensors(resumed), tensors(whole)) == 0.0
    saved = {path.name for path in (whole.folder / "trainer/checkpoint-12").iterdir()}
    assert "adapter_model.safetensors" in saved and "model.safetensors" not in saved
    assert ("cross_lingual_connection.safetensors" in saved) is (kind == "cc")
    adapter = load_file(whole.folder / "adapter/adapter_model.safetensors")
    name = "model.layers.1.mlp.up_proj"
    low, high = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    before = load_file(Path(whole.base) / "model.safetensors")[f"{name}.weight"]
    torch.testing.assert_close(tensors(whole)[f"{name}.weight"], before + 32 / 4 * high @ low)
    assert not load_checkpoint(whole.folder / "checkpoint").training
