"""The ten data sets themselves, fetched at their commits: pins, paths, columns and faults are as the sources say."""

import socket
from pathlib import Path

import pytest

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.sources import SOURCES
from cc_tuning.evaluation.sources.config import items_config
from cc_tuning.evaluation.sources.fetching import fetch_files
from cc_tuning.evaluation.sources.making import make_items

HOSTS = ("huggingface.co", "raw.githubusercontent.com")
MOST_SET_ASIDE = 0.03
LEFT_OUT_OF_MKQA = {"long_answer": 1815, "unanswerable": 1427}


def _is_reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("benchmark", SOURCES)
def test_a_published_set_is_what_its_source_says(benchmark: str, tmp_path: Path) -> None:
    if absent := [host for host in HOSTS if not _is_reachable(host)]:
        pytest.skip(f"{absent[0]} cannot be reached from here")
    source, sampling = SOURCES[benchmark], {"sample": "seeded", "sample_seed": 0}
    config = items_config((benchmark,), (), 1511, sampling)
    languages = config.languages[benchmark]
    # Rows, checksums, columns and golds that differ from English raise.
    made = make_items(source, config, fetch_files(source.files_of(languages).values(), tmp_path))
    for language, record in made.record.languages.items():
        assert record.rows == (source.files[language].rows or record.rows)
        assert sum(record.set_aside.values()) <= MOST_SET_ASIDE * record.rows, (language, record.set_aside)
        if benchmark == "MKQA":
            assert record.left_out == LEFT_OUT_OF_MKQA, language
        if benchmark == "XNLI" and language == "ru":
            assert record.mended == {"exchanged_rows": 2}
    paper = BENCHMARKS[benchmark].paper_items
    assert made.items.height >= (1 - MOST_SET_ASIDE) * paper * len(languages)
