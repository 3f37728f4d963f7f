"""Where a command is told the language, a map with an intercept for each answers as the map of that language alone."""

import io
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cc_tuning.errors import ConfigError
from cc_tuning.inference.answer_one import GenerationRequest, generate_text
from cc_tuning.model import CrossLingualModel
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.text.prompts import ChatPrompts
from tests.checkpoints import save_connected_checkpoint

LANGUAGES = ("swh_Latn", "yor_Latn")
CASES = ("swh_Latn", "yor_Latn", "mean")


def one_map(language: str) -> TransformMatrix:
    """The map with the intercept of a language alone; of `mean`, with the mean of both."""
    draw = torch.Generator().manual_seed(0)
    matrix, intercepts = torch.randn(32, 32, generator=draw) / 5, 3 * torch.randn(2, 32, generator=draw)
    if language == "both":
        return TransformMatrix(matrix, intercepts, languages=LANGUAGES)
    return TransformMatrix(matrix, intercepts.mean(0) if language == "mean" else intercepts[LANGUAGES.index(language)])


@pytest.fixture(scope="module")
def checkpoints(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> dict[str, Path]:
    """One checkpoint, published with each of the maps."""
    folder = tmp_path_factory.mktemp("languages")
    model = CrossLingualModel.from_pretrained(
        save_connected_checkpoint(folder / "bare", tiny_llama_directory, tiny_tokenizer)
    )
    found = {}
    for name in ("both", *CASES):
        model.set_transform(one_map(name))
        model.save_pretrained(folder / name, ChatPrompts(tiny_tokenizer).stop_token_ids)
        tiny_tokenizer.save_pretrained(folder / name)
        found[name] = folder / name
    return found


def written(checkpoint: Path, language: str = "", is_english: bool = False) -> str:
    output = io.StringIO()
    request = GenerationRequest(
        checkpoint, "Mji mkuu wa Kenya ni upi?", "", "transform", 12, 0.0, 0, is_english, language
    )  # fmt: skip
    generate_text(request, output)
    return output.getvalue()


@pytest.mark.parametrize("language", CASES)
def test_generate_answers_as_the_map_of_the_language_alone(checkpoints: dict[str, Path], language: str) -> None:
    assert written(checkpoints["both"], language) == written(checkpoints[language])


def test_generate_refuses_an_untold_language_and_connects_english_with_itself(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"pass `languages`.*'mean' for the mean of the intercepts \(`--language`"):
        written(checkpoints["both"])
    with pytest.raises(ConfigError, match=r"cannot answer prompts in 'fra_Latn'.*Take 'mean' for their code"):
        written(checkpoints["both"], "fra_Latn")
    assert written(checkpoints["both"], is_english=True) == written(checkpoints["both"], "eng_Latn")


@pytest.mark.parametrize("language", CASES)
def test_lm_eval_scores_and_answers_as_the_map_of_the_language_alone(
    checkpoints: dict[str, Path], language: str
) -> None:
    instances = pytest.importorskip("lm_eval.api.instance", reason="needs the extra lmeval")
    from cc_tuning.inference.harness.lm_eval_model import ConnectedLM

    found = []
    for checkpoint, told in ((checkpoints["both"], language), (checkpoints[language], "")):
        model = ConnectedLM(checkpoint=str(checkpoint), device="cpu", batch_size=2, language=told)
        pairs = [("What is the capital of Kenya?", " Mji"), ("Mji mkuu wa", " Kenya ni")]
        asked = [instances.Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
        wanted = instances.Instance("generate_until", {}, ("Mji mkuu wa", {"until": [], "max_gen_toks": 5}), 0)
        scores = model.loglikelihood(asked, disable_tqdm=True)
        found.append(([total for total, _ in scores], model.generate_until([wanted], disable_tqdm=True)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == found[1][1]


def test_predictions_of_languages_english_and_their_mean_may_stand_in_one_batch() -> None:
    transform = one_map("both")
    rows = torch.randn(4, 3, 32, generator=torch.Generator().manual_seed(1))
    places = transform.places_of(["yor_Latn", "mean", "swh_Latn", "eng_Latn"], torch.device("cpu"))
    assert places.tolist() == [1, 2, 0, -1]
    predicted = transform.apply(rows, None, places)
    for row, name in enumerate(("yor_Latn", "mean", "swh_Latn")):
        torch.testing.assert_close(predicted[row], one_map(name).apply(rows)[row])
