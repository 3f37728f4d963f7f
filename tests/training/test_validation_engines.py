"""Held-out rows on several ranks: the loss of one process, and its best checkpoint out of whole or sharded models."""

import pytest

from cc_tuning.training.job import TrainingJob
from cc_tuning.training.worker import train
from data_contracts.files import read_json
from tests.training.held_out import BEST, TURNING, slow_loss, validation_losses, with_turning_rows
from tests.training.jobs import MakeJob, difference, keep_lines, needs_peft, tensors
from tests.training.launching import run_on_ranks

SEVERAL = "tests.training.several_jobs"


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp2"], ids=["ddp", "fsdp2"])
@pytest.mark.parametrize(
    "training",
    [{}, pytest.param({"lora": {"rank": 4, "target_modules": ["lm_head"]}}, marks=needs_peft)],
    ids=["all weights", "lora"],
)
def test_two_ranks_keep_the_checkpoint_of_one_and_go_on_to_the_same_bits(
    make_job: MakeJob, sharding: str, training: dict[str, object]
) -> None:
    def make(name: str, execution: dict[str, object] | None = None) -> TrainingJob:
        return with_turning_rows(make_job(name, "cc", execution, **(TURNING | training)))

    one = make("one")
    train(one)
    ranks = {"processes": 2, "device_batch_size": 2, "sharding": sharding}
    two, resumed = make("two", ranks), make("resumed", ranks)
    run_on_ranks(SEVERAL, [two])
    # What a run that was killed after step 12 has in its folder.
    keep_lines(two, resumed)
    (two.folder / "trainer").rename(resumed.folder / "trainer")
    resumed = resumed.model_copy(update={"resume_from": resumed.folder / "trainer/checkpoint-12"})
    run_on_ranks(SEVERAL, [resumed])
    kept = [read_json(job.folder / "summary.json")["kept_step"] for job in (one, two, resumed)]
    assert kept == [BEST] * 3
    assert validation_losses(two) == pytest.approx(validation_losses(one), rel=1e-3)
    assert slow_loss(two) == pytest.approx(validation_losses(two)[BEST], rel=1e-5)
    assert validation_losses(resumed) == validation_losses(two)
    assert difference(tensors(resumed), tensors(two)) == 0.0
