"""Rows that break pipelines, through selection and translation: each keeps its text, or is set aside by rule."""

import json
import unicodedata
from pathlib import Path

from translation_runs import row, translate

from data_contracts.layout import PAIRS
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import ParallelPair, QuarantinedRow

CODE = "```python\nprint('Hola, Ana.')\n```"
EMOJI = "🙂 👩‍👩‍👧🙂\n🇰🇪"
BETWEEN = ("\x85", "\u2028", "\n\u200f\u202b\u200e\n", "\r\n\x00\x07\x1b[0;1;31\x7f\n")
EXPECTED = {
    "La casa es roja.\n" * 6_000: "The house is red.\n" * 6_000,  # 102 KB
    "El gato come pan. " * 300: "The cat eats bread. " * 300,
    EMOJI: EMOJI,
    CODE: CODE,
    **{f"La casa es roja.{line_end}Hola, Ana.": f"The house is red.{line_end}Hello, Ana." for line_end in BETWEEN},
}
"""Prompts whose English is known."""
UNKNOWN = {
    "a sentence of 5,000 characters without a pause": "perro " * 833 + "ya",
    "a word of 5,000 letters": "a" * 5_000,
    "mixed scripts": "El gato 吃 хлеб и الخبز रोटी.",
    "marks of direction in a sentence": "\u202bEl gato\u202c come \u200fpan\u200e.",
    "NFD": unicodedata.normalize("NFD", "¿Quién bebió el café del niño?"),
    "a language code that does not fit": "Paka anakula mkate. 你好。",
    "control characters in a sentence": "El\x00 gato\x1b[31m come\x08 pan.",
}
"""Prompts of which the tiny translator knows no word, or not the whole."""


def test_each_row_keeps_text_and_structure_or_is_set_aside_by_rule(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    prompts = [*EXPECTED, *UNKNOWN.values()]
    rows = [row(prompt, "7", "spa") for prompt in prompts]
    outcome, artifact = translate(tmp_path, rows, tiny_nllb_folder, quarantine_limit=1.0)
    pairs = read_parquet(artifact / PAIRS, ParallelPair)
    english = dict(pairs.select("inputs", "inputs_en").iter_rows())
    assert {prompt: english[prompt] for prompt in EXPECTED} == EXPECTED
    aside = read_parquet(artifact / QUARANTINE, QuarantinedRow)
    assert set(aside["rule"]) <= {"empty_translation"}
    assert sorted([*english, *(json.loads(kept)["inputs"] for kept in aside["row_json"])]) == sorted(prompts)
    assert outcome.manifest.rows.read == len(prompts)
