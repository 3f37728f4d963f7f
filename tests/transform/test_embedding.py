"""Vectors of prompts and what is told of them, against prompts one by one and plain numpy."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from cc_tuning.runtime.sources import Location
from cc_tuning.stages.transform import build_transform
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.transform.activations import SampledPair
from cc_tuning.transform.embedding import embedded_pairs, embedding
from tests.transform.transform_runs import prepared, translated_pair

TEXTS = ("Habari ya leo?", "Mji mkuu uko wapi, tafadhali?", "Bei gani?", "Jina langu ni Asha.", "Ndiyo")
ENGLISH = ("How are you today?", "Where is the capital, please?", "What price?", "My name is Asha.", "Yes")


def pairs_of(tokenizer: PreTrainedTokenizerBase) -> list[SampledPair]:
    prompts = ChatPrompts(tokenizer)
    return [
        SampledPair(
            f"pair-{place}", prompts.encode_prompt(own), prompts.encode_prompt(english), ("swh", "yor")[place % 2]
        )
        for place, (own, english) in enumerate(zip(TEXTS, ENGLISH, strict=True))
    ]


def one_by_one(folder: Path, prompts: list[list[int]]) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = [model.model(torch.tensor([ids])).last_hidden_state[0].mean(0) for ids in prompts]
    return torch.stack(rows).double().numpy()


def test_figures_are_those_of_prompts_one_by_one(
    tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    pairs = pairs_of(tiny_tokenizer)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_directory).eval()
    found = embedding(model, pairs, 2, int(tiny_tokenizer.pad_token_id or 0))
    own, english = (
        one_by_one(tiny_llama_directory, [getattr(pair, side) for pair in pairs])
        for side in ("input_ids", "english_input_ids")
    )
    vectors = np.concatenate([own, english])
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    drawn = np.array([[point["x"], point["y"]] for point in found["points"]])
    # principal axes have no sign of their own
    np.testing.assert_allclose(np.abs(drawn), np.abs(centred @ axes[:, [-1, -2]]), atol=1e-4)
    assert found["variance_shown"] == pytest.approx(values[[-1, -2]] / values.sum(), rel=1e-3)
    a, b = own - own.mean(0), english - english.mean(0)
    cosines = [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a]
    assert found["nearest_is_parallel"] == np.mean([np.argmax(row) == place for place, row in enumerate(cosines)])
    groups = [centred[[0, 2, 4]], centred[[1, 3]], centred[5:]]
    between = sum(len(rows) * (rows.mean(0) ** 2).sum() for rows in groups)
    assert found["language_share"] == pytest.approx(between / (centred**2).sum(), rel=1e-3)
    assert [point["pair_id"] for point in found["points"][5:]] == [pair.pair_id for pair in pairs]
    assert {point["language_code"] for point in found["points"][5:]} == {"eng"}


def test_the_two_languages_with_the_most_pairs_are_shown() -> None:
    codes = ["swh"] * 3 + ["yor"] * 150 + ["hau"] * 5 + ["ibo"] * 5
    pairs = [SampledPair(f"pair-{place:03d}", [1], [1], code) for place, code in enumerate(codes)]
    chosen = embedded_pairs(pairs)
    assert [pair.language_code for pair in chosen] == ["yor"] * 100 + ["hau"] * 5
    assert [pair.pair_id for pair in chosen[:2]] == ["pair-003", "pair-004"]


def test_equal_english_prompts_count_as_each_others_parallels(
    tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_directory).eval()
    same = pairs_of(tiny_tokenizer)[0].english_input_ids
    pairs = [SampledPair(pair.pair_id, pair.input_ids, same, "swh") for pair in pairs_of(tiny_tokenizer)]
    assert embedding(model, pairs, 4, 0)["nearest_is_parallel"] == 1.0


def test_stage_embeds_the_model_before_and_after_tuning(
    tmp_path: Path, checkpoint: Path, tiny_llama_directory: Path
) -> None:
    build = prepared(tmp_path / "t", [translated_pair(number) for number in range(6)], checkpoint)
    build_transform(build)
    assert set(json.loads((tmp_path / "t" / "embedding.json").read_text())) == {"tuned"}
    again = prepared(tmp_path / "u", [translated_pair(number) for number in range(6)], checkpoint)
    again.inputs["base"] = Location(str(tiny_llama_directory))  # type: ignore[index]
    build_transform(again)
    found = json.loads((tmp_path / "u" / "embedding.json").read_text())
    assert set(found) == {"base", "tuned"}
    assert found["base"]["points"] != found["tuned"]["points"]
    assert len(found["base"]["points"]) == 12
