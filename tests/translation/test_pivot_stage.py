"""The stage `pivot`: whose prompts become English, what is set aside, and that more workers change nothing."""

from pathlib import Path

import polars as pl
import pytest
from translation_runs import CONFIG

from cc_tuning.errors import ConfigError, TranslationFailed
from cc_tuning.evaluation.config import PivotConfig
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.stage_table import PIVOT
from cc_tuning.runtime.step import Outcome, run_step
from cc_tuning.translation.pivot_prompts import with_pivot
from data_contracts.layout import PIVOT_PROMPTS
from data_contracts.parquet import read_parquet
from data_contracts.schemas import PivotPrompt, QuarantinedRow
from data_contracts.store import ArtifactStore

SPANISH, SWAHILI, UNKNOWN, HINDI, ENGLISH = "es", "sw", "xx", "hi", "en"


def item(language: str, number: int, prompt: str, benchmark: str = "MKQA") -> dict[str, object]:
    return {
        "benchmark": benchmark,
        "language": language,
        "item_id": f"q{number}",
        "prompt": prompt,
        "prompt_en": None,
        "answers": ["Ana"],
        "choices_kind": "answer_aliases" if benchmark == "MKQA" else "context_span",
    }


ITEMS = [
    item(SPANISH, 0, "La casa es roja.\nEl gato come pan."),
    item(SPANISH, 1, "El perro bebe agua."),
    item(SWAHILI, 0, "Nyumba ni nyekundu."),
    item(SWAHILI, 1, "Hola, Ana."),
    item(ENGLISH, 0, "The house is red."),
    item(HINDI, 0, "घर लाल है।"),
    item(UNKNOWN, 0, "Domo estas ruĝa."),
    item(SPANISH, 0, "El gato come pan.", "XQuAD"),
]


def pivot(
    folder: Path, model: Path, items: list[dict[str, object]], workers: int = 1, languages: tuple[str, ...] = ()
) -> tuple[Outcome, Path]:
    """The stage run on `items`; the outcome and the artifact's folder."""
    (folder / "items").mkdir(parents=True, exist_ok=True)
    pl.DataFrame(items).write_parquet(folder / "items" / "items.parquet")
    config = PivotConfig(benchmarks=("MKQA",), languages=languages, items_per_language=10, translation=CONFIG)
    step = PIVOT.step(config, items=LocalSource.of(folder / "items"), translator=LocalSource.of(model))
    store = ArtifactStore(folder / "store")
    execution = Execution(threads=1, device="cpu", translation_shard_rows=2, translation_workers=workers)
    outcome = run_step(step, store, execution, no_progress)
    return outcome, store.folder(outcome.ref)


def test_prompts_become_english_and_those_that_cannot_are_set_aside_by_rule(
    tmp_path: Path, tiny_nllb_folder: Path
) -> None:
    outcome, folder = pivot(tmp_path, tiny_nllb_folder, ITEMS)
    made = read_parquet(folder / PIVOT_PROMPTS, PivotPrompt)
    english = {
        (language, item_id): text
        for language, item_id, text in made.select("language", "item_id", "prompt_en").iter_rows()
    }
    assert english == {
        (SPANISH, "q0"): "The house is red.\nThe cat eats bread.",
        (SPANISH, "q1"): "The dog drinks water.",
        (SWAHILI, "q0"): "The house is red.",
        (SWAHILI, "q1"): "The dog drinks water.",  # the same words mean something else in Spanish
    }
    rows = outcome.manifest.rows
    assert (rows.read, rows.kept, rows.not_selected) == (len(ITEMS), 4, 2)  # the English one, and another benchmark's
    assert rows.quarantined == {"unknown_language": 1, "translator_lacks_language": 1}
    set_aside = read_parquet(folder / "quarantine.parquet", QuarantinedRow)
    assert sorted(set_aside["rule"]) == ["translator_lacks_language", "unknown_language"]
    again, _ = pivot(tmp_path, tiny_nllb_folder, ITEMS)
    assert again.was_cached


def test_several_workers_make_the_same_bytes(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    _, alone = pivot(tmp_path / "alone", tiny_nllb_folder, ITEMS)
    _, together = pivot(tmp_path / "together", tiny_nllb_folder, ITEMS, workers=2)
    assert (alone / PIVOT_PROMPTS).read_bytes() == (together / PIVOT_PROMPTS).read_bytes()


def test_nothing_but_untranslatable_prompts_is_refused(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of 2 prompts has a translation .*unknown_language 1"):
        pivot(tmp_path, tiny_nllb_folder, [row for row in ITEMS if row["language"] in (HINDI, UNKNOWN)])


def test_english_items_alone_need_no_translation(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    outcome, folder = pivot(tmp_path, tiny_nllb_folder, ITEMS, languages=(ENGLISH,))
    assert read_parquet(folder / PIVOT_PROMPTS, PivotPrompt).is_empty()
    assert outcome.manifest.rows.not_selected == len(ITEMS)


def test_a_translator_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TranslationFailed, match="empty"):
        pivot(tmp_path, tmp_path / "empty", ITEMS)


@pytest.mark.parametrize(("mode", "connection"), [("pivot", "parallel"), ("pivot_context", "context")])
def test_a_single_prompt_is_translated_for_the_connection_that_reads_it(
    tiny_nllb_folder: Path, mode: str, connection: str
) -> None:
    made = with_pivot(mode, "La casa es roja.", "", str(tiny_nllb_folder), "spa")
    assert made == (connection, "The house is red.")
    assert with_pivot(mode, "Hola, Ana.", "", str(tiny_nllb_folder), "swh")[1] == "The dog drinks water."
    assert with_pivot(mode, "Hola, Ana.", "", "nowhere", "eng") == (connection, "Hola, Ana.")  # its own English
    assert with_pivot("parallel", "Hola.", "Hello.", "", "") == ("parallel", "Hello.")


def test_a_pivot_needs_its_translator_and_a_language_that_it_knows(tiny_nllb_folder: Path) -> None:
    model = str(tiny_nllb_folder)
    for arguments in (("pivot", "Hola.", "Hello.", model, "spa"), ("pivot", "Hola.", "", "", "spa")):
        with pytest.raises(ConfigError, match="makes the English prompt by itself"):
            with_pivot(*arguments)
    with pytest.raises(ConfigError, match="a translator goes with"):
        with_pivot("off", "Hola.", "", model, "")
    with pytest.raises(ConfigError, match="no token for the row's FLORES code, hin_Deva"):
        with_pivot("pivot", "घर लाल है।", "", model, "hin")
