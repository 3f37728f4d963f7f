"""`connection.predicted_share`: the map by least squares, the pass row by row, and a run with it from end to end."""

import copy

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from cc_tuning.errors import TrainingFailed
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.predicted import LinearMap
from cc_tuning.training.collators import PredictedRows
from cc_tuning.training.running_map import RUNNING_MAP_FILE, RunningSums
from cc_tuning.training.worker import train
from data_contracts.fingerprint import digest_of_files
from tests.model.normalised import for_reference, normalised_model
from tests.model.test_connected_pass import NOISE, gradients, rows_of
from tests.model.test_connection_variants import worst_relative
from tests.model.tiny_connected import HIDDEN, LAYERS, training_batch
from tests.reference.connection import run_row, training_loss
from tests.training.jobs import MakeJob, connected_with, difference, resuming, tensors

CPU = torch.device("cpu")


def alone(tensor: Tensor) -> Tensor:
    """The sum over one rank."""
    return tensor


def planted(rows: int, seed: int, layers: int = 3, size: int = 6) -> tuple[Tensor, Tensor]:
    """Own and English activations `[N, L, D]` about a large constant of each layer, and noise."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *sizes: torch.randn(sizes, generator=generator, dtype=torch.float64)  # noqa: E731
    own = draw(rows, layers, size) + 30 * torch.arange(1, layers + 1)[None, :, None]
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return own, (own - 7) @ matrix + 100 * torch.arange(layers)[None, :, None] + 0.3 * draw(rows, layers, size)


def least_squares(intervals: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """`W` and the value at zero of each layer, by numpy: a row of the last interval counts 1, one before it 1/2."""
    left, right = [], []
    for age, (own, english) in enumerate(reversed(intervals)):
        for a, b in zip(own.numpy(), english.numpy(), strict=True):
            for layer in range(own.shape[1]):
                one = np.zeros(own.shape[1])
                one[layer] = 1.0
                left.append(np.concatenate([a[layer], one]) * 0.5 ** (age / 2))
                right.append(b[layer] * 0.5 ** (age / 2))
    solution = np.linalg.lstsq(np.array(left), np.array(right), rcond=None)[0]
    return solution[: own.shape[2]], solution[own.shape[2] :]


def test_the_map_is_least_squares_with_an_intercept_for_each_layer_and_older_rows_count_half() -> None:
    intervals = [planted(rows, seed) for rows, seed in ((40, 1), (25, 2), (33, 3))]
    sums = RunningSums(3, 6, CPU)
    for place, (own, english) in enumerate(intervals):
        if place:
            sums.halve()
        for first in range(0, len(own), 10):
            sums.add(own[first : first + 10], english[first : first + 10])
    fitted = sums.solved(alone)
    matrix, at_zero = least_squares(intervals)
    found = fitted.english_mean - fitted.own_mean @ fitted.matrix
    # The ridge of 1e-6 is what is between the two.
    assert np.abs(fitted.matrix.numpy() - matrix).max() < 1e-4
    assert np.abs(found.numpy() - at_zero).max() < 1e-2
    assert np.abs(at_zero).max() > 100


def test_the_sums_of_two_ranks_are_those_of_one() -> None:
    whole, first, second = (RunningSums(3, 6, CPU) for _ in range(3))
    own, english = planted(30, 4)
    whole.add(own, english)
    first.add(own[:11], english[:11])
    second.add(own[11:], english[11:])
    others = iter(second.tensors.values())
    together = first.solved(lambda tensor: tensor + next(others))
    for got, expected in zip(together, whole.solved(alone), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_activations_that_do_not_vary_or_are_not_finite_are_told() -> None:
    for own in (torch.ones(4, 3, 6), torch.full((4, 3, 6), torch.nan)):
        sums = RunningSums(3, 6, CPU)
        sums.add(own, own)
        with pytest.raises(TrainingFailed, match=r"activations of 4\.0 rows .* expected a finite number above 0"):
            sums.solved(alone)


def predicting_model(family: str, **connection: object) -> CrossLingualModel:
    """A model with a random map in force, in training mode."""
    model = normalised_model(family, predicted_share=0.5, **connection)
    generator = torch.Generator().manual_seed(6)
    assert model.prediction is not None
    model.prediction.use(
        LinearMap(*(torch.randn(*sizes, generator=generator) for sizes in ((HIDDEN, HIDDEN), *[(LAYERS, HIDDEN)] * 2)))
    )
    return model.train()


@pytest.mark.parametrize("connection", [{}, {"normalise": "centred", "scale": 0.5, "selector": "mean"}], ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_loss_and_gradients_equal_the_method_row_by_row_in_float64(family: str, connection: dict[str, object]) -> None:
    """Rows 0 and 2 take what the map makes of their own activations, without a gradient, row 1 its English ones."""
    model, batch = predicting_model(family, **connection), training_batch()
    noise = {} if "selector" in connection else {"gumbel_noise": NOISE}
    output = model(**batch, **noise, predicted_rows=torch.tensor([True, False, True]))
    output.loss.backward()
    slow = copy.deepcopy(model).double()
    slow.zero_grad()
    rows, given = rows_of(batch), []
    for number, row in enumerate(rows):
        with torch.no_grad():
            place = int(row["position"])
            _, own = run_row(slow.base, row["ids"][: place + 1], place)
            assert slow.prediction is not None
            english = (own - slow.prediction.own_mean) @ slow.prediction.matrix + slow.prediction.english_mean
        torch.testing.assert_close(output.own_activations[number].double(), own, rtol=1e-3, atol=1e-3)
        given.append(None if number == 1 else english)
    expected = training_loss(
        slow.base,
        None if "selector" in connection else slow.decision_maker.weight,
        rows,
        NOISE.double(),
        selector=str(connection.get("selector", "decision_maker")),
        statistics=for_reference(slow),
        share=slow.connection.share,
        given=given,
    )
    expected.backward()
    assert abs(output.loss.item() - expected.item()) <= 1e-4
    assert worst_relative({name: grad.double() for name, grad in gradients(model).items()}, gradients(slow)) <= 2e-3


def test_before_the_first_fit_and_without_a_share_the_pass_is_todays() -> None:
    batch, rows = training_batch() | {"gumbel_noise": NOISE}, torch.ones(3, dtype=torch.bool)
    plain, unfitted = normalised_model("llama"), normalised_model("llama", predicted_share=1.0)
    unfitted.load_state_dict(plain.state_dict())
    assert plain.prediction is None
    expected = plain.train()(**batch)
    for output in (unfitted.train()(**batch), unfitted(**batch, predicted_rows=rows)):
        assert torch.equal(output.loss, expected.loss)
    assert expected.own_activations is None


def test_rows_are_drawn_by_seed_epoch_and_row_alone() -> None:
    draw = PredictedRows(seed=3, share=0.3)
    rows = [{"row_id": f"r{number}", "epoch": epoch} for epoch in (0, 1) for number in range(4000)]
    drawn = draw.of_rows(rows)
    assert torch.equal(drawn, draw.of_rows(rows[::-1]).flip(0))
    first, second = drawn.view(2, -1)
    assert first.float().mean() == pytest.approx(0.3, abs=0.03)  # four standard deviations
    assert (first & second).float().mean() == pytest.approx(0.09, abs=0.02)
    assert not torch.equal(PredictedRows(seed=4, share=0.3).of_rows(rows), drawn)
    assert PredictedRows(3, 1.0).of_rows(rows).all()


def test_a_run_goes_on_to_the_same_bits_with_the_map_and_sums_it_had(make_job: MakeJob) -> None:
    """Fits after steps 3, 6, 9 and 12; it goes on from 8, so a map of step 6 and the sums of two more steps."""
    settings = {"predicted_share": 0.7, "predicted_refit": 3, "normalise": "centred", "scale": 5.0}
    whole, resumed, plain = (make_job(name, "cc") for name in ("whole", "resumed", "plain"))
    whole = connected_with(whole, **settings)
    train(whole)
    kept = load_file(whole.folder / "trainer" / "checkpoint-8" / RUNNING_MAP_FILE)
    assert float(kept["rows"]) == (12 / 2 + 12) / 2 + 8  # four rows a step
    assert kept["matrix"].abs().max() > 0
    resumed = resuming(connected_with(resumed, **settings), whole, 8)
    train(resumed)
    assert digest_of_files(resumed.folder / "checkpoint") == digest_of_files(whole.folder / "checkpoint")
    plain = connected_with(plain, normalise="centred", scale=5.0)
    train(plain)
    assert difference(tensors(plain), tensors(whole)) > 1e-5
    assert tensors(plain).keys() == tensors(whole).keys()  # the map is no part of the checkpoint


def test_a_run_that_ends_before_the_first_fit_is_one_without_a_share(make_job: MakeJob) -> None:
    jobs = [make_job("never", "cc"), make_job("none", "cc")]
    jobs[0] = connected_with(jobs[0], predicted_share=1.0)
    for job in jobs:
        train(job)
    assert difference(tensors(jobs[0]), tensors(jobs[1])) == 0.0


def test_an_interval_without_a_share_is_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"connection\.predicted_refit is 5, but connection\.predicted_share is 0"
    ):
        ConnectionConfig(predicted_refit=5)
    with pytest.raises(ValidationError, match="predicted_share"):
        ConnectionConfig(predicted_share=1.5)
