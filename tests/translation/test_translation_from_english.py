"""English rows into a target language: the pair is of the target, its English the row, and nothing is lost."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from translation_runs import CONFIG, files_of, row, translate

from cc_tuning.errors import ConfigError
from cc_tuning.translation.config import TargetTranslationConfig
from data_contracts.errors import ContractViolation
from data_contracts.layout import PAIRS
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import ParallelPair, QuarantinedRow

INTO_SWAHILI = TargetTranslationConfig(**dict(CONFIG), target="swh")


def test_prompt_and_response_are_translated_and_the_english_stays(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    rows = [row("Hello, Ana.", "The dog drinks water.", "eng"), row("The house is red.\n- 42", "1", "eng")]
    into_spanish = TargetTranslationConfig(**dict(CONFIG), target="spa")
    outcome, artifact = translate(tmp_path, rows, tiny_nllb_folder, config=into_spanish)
    pairs = read_parquet(artifact / PAIRS, ParallelPair)
    assert set(pairs.select("inputs_en", "targets_en").iter_rows()) == {
        (each["inputs"], each["targets"]) for each in rows
    }  # fmt: skip
    assert set(pairs.select("language_code", "flores_code", "origin").iter_rows()) == {
        ("spa", "spa_Latn", "translated")
    }  # fmt: skip
    by_english = {pair["inputs_en"]: pair for pair in pairs.iter_rows(named=True)}
    assert by_english["The house is red.\n- 42"]["inputs"].endswith("\n- 42"), "what is no prose stays"
    assert by_english["The house is red.\n- 42"]["targets"] == "1"
    assert outcome.manifest.rows.kept == 2


def test_worker_count_and_shards_change_no_pair(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    rows = [row(f"Hello, Ana {number}.", "The house is red.", "eng") for number in range(9)]
    _, one = translate(tmp_path / "one", rows, tiny_nllb_folder, 9, INTO_SWAHILI)
    _, two = translate(tmp_path / "two", rows, tiny_nllb_folder, 9, INTO_SWAHILI, translation_workers=2)
    assert files_of(one) == files_of(two)


def test_rows_of_other_languages_are_set_aside_and_counted(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    rows = [row(f"Hello, Ana {number}.", "The house is red.", "eng") for number in range(3)]
    rows.append(row("Hola, Ana.", "La casa es roja.", "spa"))
    with pytest.raises(ContractViolation, match="not_english"):
        translate(tmp_path / "refused", rows, tiny_nllb_folder, config=INTO_SWAHILI)
    outcome, artifact = translate(
        tmp_path / "allowed", rows, tiny_nllb_folder, config=INTO_SWAHILI, quarantine_limit=0.5
    )
    assert outcome.manifest.rows.quarantined == {"not_english": 1}
    assert read_parquet(artifact / QUARANTINE, QuarantinedRow)["rule"].to_list() == ["not_english"]


def test_a_target_that_the_translator_lacks_is_refused_before_it_translates(
    tmp_path: Path, tiny_m2m100_folder: Path
) -> None:
    into_telugu = TargetTranslationConfig(**dict(CONFIG), target="tel")
    with pytest.raises(ConfigError, match=r"no token for Telugu.*translation\.model"):
        translate(tmp_path, [row("Hello.", "Hi.", "eng")], tiny_m2m100_folder, config=into_telugu)


@pytest.mark.parametrize(("target", "reason"), [("eng", "the language of the source"), ("xyz", "not among")])
def test_a_target_that_is_the_source_or_is_unknown_is_refused(target: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        TargetTranslationConfig(target=target)
