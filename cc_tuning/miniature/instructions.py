"""Instruction rows in Aya's schema, made of training facts, with more English than anything else."""

import hashlib
import random

import polars as pl

from cc_tuning.miniature.lexicon import ENGLISH, LANGUAGES, tongue
from cc_tuning.miniature.random_draws import Pool, draw

# Shares of the six formats; a summary costs several times the tokens of a question.
_WEIGHTS = {"XNLI": 4, "XStoryCloze": 4, "MMMLU": 4, "MKQA": 5, "XQuAD": 4, "XLSum": 2}
# In Aya the column says whether a person wrote the row or edited another's; here it only has to be there.
_ANNOTATION_TYPES = ("original-annotations", "re-annotations")


def instruction_rows(rows: int, english_share: float, pool: Pool, seed: int) -> pl.DataFrame:
    """`rows` different instructions with their answers, columns as in the Aya dataset.

    Rows with equal prompts are drawn once, so a small pool gives fewer rows than asked.
    """
    generator = random.Random(f"instructions/{seed}")
    others = [code for code in LANGUAGES if code != ENGLISH]
    drawn: dict[tuple[str, str], dict[str, str]] = {}
    for number in range(rows):
        code = ENGLISH if generator.random() < english_share else others[number % len(others)]
        (benchmark,) = generator.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))
        rendered = draw(benchmark, pool, generator).render(tongue(code))
        language = tongue(code).language
        drawn[code, rendered.prompt] = {
            "inputs": rendered.prompt,
            "targets": rendered.response,
            "language": language.name,
            # The rows of the dataset name Swahili by its individual code.
            "language_code": "swh" if code == "sw" else language.aya_code,
            "annotation_type": generator.choice(_ANNOTATION_TYPES),
            "user_id": hashlib.sha256(f"{code}/{generator.randrange(20)}".encode()).hexdigest(),
        }
    return pl.DataFrame(list(drawn.values()))
