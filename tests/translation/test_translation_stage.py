"""Translation as a stage: what passes, what waits for the translator, and what a killed run keeps."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest
from translation_runs import CONFIG, ROWS, SEGMENTS, files_of, row, rows_of, translate

from cc_tuning.errors import TranslationFailed
from data_contracts.errors import ContractViolation
from data_contracts.layout import PAIRS
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import ParallelPair, QuarantinedRow
from tests.watching import modified, wait_until

ROOT = Path(__file__).resolve().parents[2]


def test_each_row_gets_its_english_from_where_it_should(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    rows = [
        row("Who?", "Me.", "eng", inputs_en="not used", targets_en="not used"),
        row("¿Quién?", "Yo.", "spa", inputs_en="Who is it?", targets_en="It is me."),
        row("La casa es roja.\n- Hola, Ana.", "42", "spa"),
        row("Hola, Ana.", "Paka anakula mkate.", "swh"),
    ]
    outcome, artifact = translate(tmp_path, rows, tiny_nllb_folder)
    pairs = read_parquet(artifact / PAIRS, ParallelPair)
    english = {
        (pair["inputs"], pair["language_code"]): (
            pair["origin"],
            pair["flores_code"],
            pair["inputs_en"],
            pair["targets_en"],
        )
        for pair in pairs.iter_rows(named=True)
    }
    assert english == {
        ("Who?", "eng"): ("english", "eng_Latn", "Who?", "Me."),
        ("¿Quién?", "spa"): ("given", "spa_Latn", "Who is it?", "It is me."),
        ("La casa es roja.\n- Hola, Ana.", "spa"): (
            "translated", "spa_Latn", "The house is red.\n- Hello, Ana.", "42",
        ),
        ("Hola, Ana.", "swh"): ("translated", "swh_Latn", "The dog drinks water.", "The cat eats bread."),
    }  # fmt: skip
    assert (outcome.manifest.rows.read, outcome.manifest.rows.kept) == (4, 4)


def test_translator_is_not_touched_when_every_row_has_english(tmp_path: Path) -> None:
    no_model = tmp_path / "no_model"
    no_model.mkdir()
    rows = [row("Who?", "Me.", "eng"), row("¿Quién?", "Yo.", "spa", inputs_en="Who?", targets_en="Me.")]
    outcome, _ = translate(tmp_path, rows, no_model)
    assert outcome.manifest.rows.kept == 2
    with pytest.raises(TranslationFailed, match="found nothing"):
        translate(tmp_path, [*rows, row("Hola", "Ana", "spa")], no_model)


def test_language_that_the_translator_lacks_is_quarantined_by_rule(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    rows = [*rows_of(20), row("Wer?", "Ich.", "deu")]
    outcome, artifact = translate(tmp_path, rows, tiny_nllb_folder)
    assert outcome.manifest.rows.quarantined == {"translator_lacks_language": 1}
    assert outcome.manifest.rows.kept == 30
    assert "Wer?" in read_parquet(artifact / QUARANTINE, QuarantinedRow)["row_json"][0]


def test_too_many_rows_without_a_translator_stop_before_translating(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    calls: list[int] = []
    with pytest.raises(ContractViolation, match=r"1 of 4 rows.*translator_lacks_language"):
        translate(
            tmp_path, [*rows_of(2), row("Wer?", "Ich.", "deu")], tiny_nllb_folder,
            progress=lambda done, *_: calls.append(done),
        )  # fmt: skip
    assert calls == []


def test_row_whose_translation_is_empty_is_quarantined(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    """One new token is the language token itself: the translator says nothing."""
    silent = CONFIG.model_copy(update={"max_new_tokens": 1})
    outcome, artifact = translate(
        tmp_path,
        [row("Hola, Ana.", "7", "spa"), row("1+1?", "2", "spa")],
        tiny_nllb_folder,
        4,
        silent,
        quarantine_limit=1.0,
    )
    assert outcome.manifest.rows.quarantined == {"empty_translation": 1}
    # The row of numbers has no prose, so nothing could be empty.
    assert read_parquet(artifact / PAIRS, ParallelPair)["targets_en"].to_list() == ["2"]


def test_shard_size_changes_no_pair_and_progress_counts_rows(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    told: list[tuple[int, int, str]] = []

    def tell(done: int, total: int, unit: str, detail: str = "") -> None:
        told.append((done, total, unit))

    _, small = translate(
        tmp_path / "a", rows_of(10), tiny_nllb_folder, 3, progress=tell
    )  # fmt: skip
    _, large = translate(tmp_path / "b", rows_of(10), tiny_nllb_folder, 100)
    assert (small / PAIRS).read_bytes() == (large / PAIRS).read_bytes()
    assert told == [(done, 15, "rows") for done in (0, 3, 6, 9, 10, 13, 15)]
    names = sorted(path.name for path in (small / "shards" / "swh_Latn").glob("*.parquet"))
    assert names == [
        "00000000-00000002.parquet", "00000000-00000002.segments.parquet",
        "00000003-00000004.parquet", "00000003-00000004.segments.parquet",
    ]  # fmt: skip


def test_interrupted_run_keeps_its_finished_shards(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    def interrupt(done: int, *_: object) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate(tmp_path, rows_of(10), tiny_nllb_folder, 3, progress=interrupt)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "translate").rglob(f"shards/*/{SEGMENTS}")}
    assert len(kept) == 2
    damaged, whole = sorted(kept)
    damaged.write_bytes(b"not what its marker says")
    told: list[int] = []
    _, artifact = translate(tmp_path, rows_of(10), tiny_nllb_folder, 3, progress=lambda done, *_: told.append(done))
    finished = artifact / whole.relative_to(whole.parents[2])
    assert finished.stat().st_mtime_ns == kept[whole]
    assert told[0] == 3
    _, undisturbed = translate(tmp_path / "other", rows_of(10), tiny_nllb_folder, 3)
    assert (artifact / PAIRS).read_bytes() == (undisturbed / PAIRS).read_bytes()


def test_shards_of_another_size_are_replaced(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    def interrupt(done: int, *_: object) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate(tmp_path, rows_of(10), tiny_nllb_folder, 3, progress=interrupt)
    outcome, artifact = translate(tmp_path, rows_of(10), tiny_nllb_folder, 5)
    assert outcome.manifest.rows.kept == 15
    assert len(list((artifact / "shards").rglob(ROWS))) == 3


@pytest.mark.parametrize("lost", ["damaged", "missing", "marker damaged", "unmarked"])
def test_lost_memory_of_a_shard_makes_it_anew_with_the_same_bytes(
    tmp_path: Path, tiny_nllb_folder: Path, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(done: int, *_: object) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate(tmp_path, rows_of(10), tiny_nllb_folder, 3, progress=interrupt)
    first, _ = sorted((tmp_path / "store").rglob(f"shards/*/{SEGMENTS}"))
    match lost:
        case "damaged":
            first.write_bytes(first.read_bytes()[:-9])
        case "missing":
            first.unlink()
        case "marker damaged":
            first.with_name(f"{first.name}.done.json").write_text("{")
        case "unmarked":
            first.with_name(f"{first.name}.done.json").unlink()
    told: list[int] = []
    _, artifact = translate(tmp_path, rows_of(10), tiny_nllb_folder, 3, progress=lambda done, *_: told.append(done))
    assert told[0] == 3
    assert ("segments.parquet is missing or damaged; it is made again" in caplog.text) == (lost != "unmarked")
    _, undisturbed = translate(tmp_path / "other", rows_of(10), tiny_nllb_folder, 3)
    assert files_of(artifact) == files_of(undisturbed)


def test_only_translated_rows_are_judged(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    rows = [
        row("Who?", "1999", "eng"),
        row("¿Quién?", "1999", "spa", inputs_en="¿Quién?", targets_en="2005"),
        row("La casa es roja.", "El gato come pan.", "spa"),
        row("La casa es roja.", "El gato come pan 1999.", "spa"),
    ]
    _, artifact = translate(tmp_path, rows, tiny_nllb_folder)
    pairs = read_parquet(artifact / PAIRS, ParallelPair)
    judged = {
        (pair["origin"], pair["targets"]): (pair["quality"], pair["flags"]) for pair in pairs.iter_rows(named=True)
    }
    assert judged["english", "1999"] == judged["given", "1999"] == (1.0, [])
    assert judged["translated", "El gato come pan."] == (1.0, [])
    quality, flags = judged["translated", "El gato come pan 1999."]
    # 16 characters are translated well, and the number is lost from the other 22.
    assert (quality, flags) == (pytest.approx((16 * 1.0 + 22 * 0.75) / 38, abs=1e-6), ["numbers"])


KILLED_RUN = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    sys.path[:0] = [sys.argv[1], sys.argv[2]]
    from translation_runs import rows_of, translate
    translate(Path(sys.argv[3]), rows_of(60), Path(sys.argv[4]), shard_rows=1)
    """
)


def test_sigkill_loses_at_most_the_shard_in_flight(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    arguments = [str(ROOT), str(Path(__file__).parent), str(tmp_path), str(tiny_nllb_folder)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_RUN, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: len(modified(tmp_path, f"store/**/{SEGMENTS}.done.json")) >= 5, process)
        process.send_signal(signal.SIGKILL)
    kept = len(modified(tmp_path, f"store/**/{SEGMENTS}.done.json"))
    assert 5 <= kept < 90
    told: list[int] = []
    _, artifact = translate(
        tmp_path, rows_of(60), tiny_nllb_folder, 1, progress=lambda done, *_: told.append(done)
    )  # fmt: skip
    assert told[0] == kept
    pairs = read_parquet(artifact / PAIRS, ParallelPair)
    assert pairs.height == pairs["pair_id"].n_unique() == 90
    assert pairs.group_by("targets_en").len().sort("len")["len"].to_list() == [30, 60]
    assert pl.Series(pairs["inputs_en"]).str.starts_with("The house is red.\n").all()
    _, undisturbed = translate(tmp_path / "other", rows_of(60), tiny_nllb_folder, 1)
    assert files_of(artifact) == files_of(undisturbed)
