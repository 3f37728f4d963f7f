"""The engine ctranslate2 says what transformers says: greedily always, with beams where the model knows the segment."""

import random
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_translation_stage import CONFIG, rows_of, translate
from tiny_nllb import FROM_ENGLISH, SENTENCES

from cc_tuning.errors import ConfigError, TranslationFailed
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import ENGLISH, Language, by_flores_code
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.model_files import load_model
from cc_tuning.translation.token_translator import Search, TokenTranslator
from data_contracts.layout import PAIRS

pytest.importorskip("ctranslate2", reason="the extra `ct2` is not installed")

from cc_tuning.translation.ctranslate2_generator import CTranslate2Generator, converted_model

SPANISH = by_flores_code("spa_Latn")
DIRECTIONS: list[tuple[Language, Language]] = [(SPANISH, ENGLISH), (ENGLISH, SPANISH)]
EXECUTION = Execution(threads=1, device="cpu")
models = pytest.mark.parametrize("model", ["tiny_nllb_folder", "tiny_m2m100_folder"])


@pytest.fixture
def folder(model: str, request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(model)
    return found


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where conversions are written; whatever a test does, nothing stays there."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


def load(folder: Path, engine: str = "ctranslate2", **config: object) -> TokenTranslator:
    settings = TranslationConfig.model_validate({"engine": engine} | config)
    return load_translator(Location(str(folder)), settings, EXECUTION)


def nonsense(number: int) -> list[str]:
    """Segments of words that the model knows in orders that it does not: many of its answers loop."""
    generator = random.Random(0)
    words = sorted({word for pairs in SENTENCES.values() for pair in pairs.items() for word in " ".join(pair).split()})
    return [" ".join(generator.choice(words) for _ in range(generator.randint(1, 13))) for _ in range(number)]


@models
@pytest.mark.parametrize("beams", [1, 4])
def test_known_sentences_are_translated_alike_in_both_directions(folder: Path, beams: int) -> None:
    translator = load(folder, beams=beams)
    for code, pairs in SENTENCES.items():
        assert translator.translate(list(pairs), by_flores_code(code), ENGLISH) == list(pairs.values())
    for code, pairs in FROM_ENGLISH.items():
        assert translator.translate(list(pairs), ENGLISH, by_flores_code(code)) == list(pairs.values())


@models
@pytest.mark.parametrize(
    "config",
    [{}, {"no_repeat_ngram_size": 2}, {"max_new_tokens": 6}, {"max_length_ratio": 0.1}],
    ids=["plain", "no_repeat_ngram_size", "max_new_tokens", "max_length_ratio"],
)
def test_greedy_decoding_says_the_same_even_of_nonsense(folder: Path, config: dict[str, object]) -> None:
    """Measured: all of them. One in a hundred may differ, where another order of summation decides a close call."""
    segments = nonsense(100)
    for source, target in DIRECTIONS:
        expected = load(folder, "transformers", beams=1, **config).translate(segments, source, target)
        said = load(folder, beams=1, **config).translate(segments, source, target)
        assert sum(one == other for one, other in zip(said, expected, strict=True)) >= 99
        assert len(set(said)) > 3


@models
def test_beams_say_mostly_the_same_until_the_limit(folder: Path) -> None:
    """Six tokens, so that loops, which the engines leave by different rules, play no role. Measured: all of them."""
    segments = nonsense(100)
    for source, target in DIRECTIONS:
        said, expected = (
            load(folder, engine, beams=4, max_new_tokens=6).translate(segments, source, target)
            for engine in ("ctranslate2", "transformers")
        )
        assert sum(one == other for one, other in zip(said, expected, strict=True)) >= 95


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("ratio", [0.01, 1.0])
def test_each_segment_has_its_own_limit_whatever_its_neighbours(
    tiny_m2m100_folder: Path, beams: int, ratio: float
) -> None:
    """M2M100's tiny model loops: at 0.01 each loop ends after 16 tokens, at 1 after those of its source and 16 more."""
    loaded = load_model(Location(str(tiny_m2m100_folder)), "float32")
    generator = CTranslate2Generator.load(loaded, TranslationConfig(max_length_ratio=ratio), EXECUTION)
    batch = loaded.family.encode(nonsense(60), ENGLISH)
    limits = [int(ratio * len(ids)) + 16 for ids in batch]
    target, search = loaded.family.language_token_id(SPANISH), Search(beams, 0)
    answers = generator.generate(batch, target, search)
    assert all(len(answer) <= limit for answer, limit in zip(answers, limits, strict=True))
    ended = {limit for answer, limit in zip(answers, limits, strict=True) if len(answer) == limit}
    assert len(ended) > (1 if ratio == 1.0 else 0)
    assert [generator.generate([ids], target, search)[0] for ids in batch] == answers


def test_second_decoding_has_its_own_settings(tiny_m2m100_folder: Path) -> None:
    translator = load(tiny_m2m100_folder, beams=1, retry_beams=1, retry_no_repeat_ngram_size=1)
    segments = nonsense(40)
    assert translator.translate(segments, ENGLISH, SPANISH) != translator.translate_again(segments, ENGLISH, SPANISH)
    same = load(tiny_m2m100_folder, beams=2, retry_beams=2, retry_no_repeat_ngram_size=0)
    assert same.translate(segments, ENGLISH, SPANISH) == same.translate_again(segments, ENGLISH, SPANISH)


def test_stage_on_ctranslate2_writes_the_same_pairs(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    _, expected = translate(tmp_path / "transformers", rows_of(4), tiny_nllb_folder)
    config = CONFIG.model_copy(update={"engine": "ctranslate2"})
    outcome, artifact = translate(tmp_path / "ctranslate2", rows_of(4), tiny_nllb_folder, config=config)
    assert (artifact / PAIRS).read_bytes() == (expected / PAIRS).read_bytes()
    assert "ctranslate2" in outcome.manifest.versions


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_arithmetic_that_the_device_lacks_is_refused_and_not_replaced(tiny_nllb_folder: Path, dtype: str) -> None:
    with pytest.raises(ConfigError, match=rf"translation.dtype is '{dtype}', which CTranslate2 cannot compute on cpu"):
        load(tiny_nllb_folder, dtype=dtype)


def test_padding_token_that_the_format_cannot_express_is_refused(tiny_nllb_folder: Path) -> None:
    loaded = load_model(Location(str(tiny_nllb_folder)), "float32")
    loaded.model.config.pad_token_id = 0
    with pytest.raises(TranslationFailed, match=r"padding token is 0.*`translation.engine` to transformers"):
        CTranslate2Generator.load(loaded, TranslationConfig(), EXECUTION)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_conversion_that_cannot_be_written_leaves_nothing_and_says_how_much_it_needs(tiny_nllb_folder: Path) -> None:
    loaded = load_model(Location(str(tiny_nllb_folder)), "float32")
    with (
        pytest.raises(TranslationFailed, match=r"cannot be converted .*it needs [\d,]+ bytes there .*TMPDIR"),
        largest_file(50_000),
        converted_model(loaded, "float32"),
    ):
        pytest.fail("a model that was not written was offered")


def test_two_conversions_have_the_same_bytes(tiny_nllb_folder: Path) -> None:
    contents = []
    for _ in range(2):
        with converted_model(load_model(Location(str(tiny_nllb_folder)), "float32"), "float32") as folder:
            contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    assert "model.bin" in contents[0]
