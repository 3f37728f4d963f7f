"""What is measured, with which sizes: known to the runner, which imports no torch, and to each part."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gpu"


@dataclass(frozen=True)
class Part:
    """A part, its share of the time (seconds of nine minutes), and whether it needs `--model` and `--rows`."""

    name: str
    title: str
    share: float
    needs_model: bool = False


PARTS = (
    Part("parity", "the same numbers on this device as on a CPU, in the authors' recordings and when sharded", 70),
    Part("training", "CC-Tuning, ML-SFT, vanilla fine-tuning and the authors' way", 190),
    Part("generation", "answers with the Transform Matrix, with the connection off, and in the authors' way", 100),
    Part("translation", "source tokens a second in the shape of NLLB-3.3B", 60),
    Part("fit", "the Transform Matrix at full size, and against torch.linalg.lstsq", 30),
    Part("likelihood", "held-out answers of a real model, trained here", 100, needs_model=True),
)
"""In order of worth."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of everything that is measured with random weights."""

    models: tuple[str, ...]  # names in `random_models.SHAPES`
    dtype: str
    rows: tuple[int, ...]  # of a training step; the first that fits the memory counts
    prompt: int  # tokens
    response: int
    english: tuple[int, ...]
    rounds: int
    batches: tuple[int, ...]  # of generation
    new_tokens: int
    translator: dict[str, Any]  # arguments of M2M100Config
    translator_batches: tuple[int, ...]
    translator_tokens: int  # of a source sentence and of its translation
    fit: tuple[int, int]  # rows and hidden size
    lstsq: tuple[int, int]


SIZES = {
    "paper": Sizes(
        models=("llama-3.1-8b", "qwen2.5-7b"), dtype="bfloat16", rows=(16, 8, 4), prompt=256, response=64,
        english=(256, 128), rounds=9, batches=(1, 16, 64), new_tokens=40,
        translator={
            "vocab_size": 256206, "d_model": 2048, "encoder_layers": 24, "decoder_layers": 24,
            "encoder_ffn_dim": 8192, "decoder_ffn_dim": 8192, "encoder_attention_heads": 16,
            "decoder_attention_heads": 16,
        },
        translator_batches=(16, 64, 256), translator_tokens=32, fit=(32_000, 4096), lstsq=(32_000, 4096),
    ),
    "tiny": Sizes(
        models=("tiny",), dtype="float32", rows=(2,), prompt=16, response=8, english=(8,), rounds=2, batches=(1, 4),
        new_tokens=4,
        translator={
            "vocab_size": 96, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        },
        translator_batches=(2, 4), translator_tokens=6, fit=(1000, 32), lstsq=(500, 32),
    ),
}  # fmt: skip
"""`paper`: the models of Ye et al. 2025 and their translator. `tiny`: all of it in seconds on a CPU."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    shape: str
    output: Path
    model: Path | None
    rows: Path | None
    chat_template: str
    learning_rate: float

    @classmethod
    def of(cls, arguments: Any) -> "Options":
        """The options among parsed arguments."""
        if (arguments.model is None) != (arguments.rows is None):
            raise SystemExit("--model and --rows go together: a model directory, and the rows it is trained on")
        return cls(**{name: getattr(arguments, name) for name in cls.__dataclass_fields__})

    def as_arguments(self) -> list[str]:
        """The same as a command line."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]

    @property
    def sizes(self) -> Sizes:
        """The sizes of this shape."""
        return SIZES[self.shape]

    def file_of(self, part: str) -> Path:
        """Where the figures of a part are written."""
        return self.output / f"{part}.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that runner and parts share."""
    parser.add_argument("--shape", choices=sorted(SIZES), default="paper", help="tiny: all parts in miniature")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--model", type=Path, help="directory of a small real model, for the part likelihood")
    parser.add_argument("--rows", type=Path, help="JSON lines with prompt, response and english_prompt, for the same")
    parser.add_argument("--chat-template", default="tokenizer", help="of --model: tokenizer, llama3 or qwen25")
    parser.add_argument("--learning-rate", type=float, default=1e-5, help="of the part likelihood (paper: 1e-5)")
