"""A step of CLO against fine-tuning on the same pairs, and against the trainer of TRL where that is installed.

A row is four sequences for CLO (each prompt with both responses) and two for SFT (each prompt with its own), so a step
twice as long is what the sequences cost. TRL's DPOTrainer is given the same rows as two examples each, with the
log-probabilities of the reference model beside them (`precompute_ref_log_probs`), as ours has them. One step is
forward, backward and optimizer on random rows of equal lengths; CLO as the paper has it trains the attention blocks
alone.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import torch
from random_models import SHAPES, build_model
from timing import Comparison, compare, parser, report
from torch import Tensor, nn

from cc_tuning.training.models import train_attention_alone
from cc_tuning.training.objectives.table import ObjectiveName, load_objective
from data_contracts.layout import REFERENCE_VALUES
from data_contracts.parquet import write_parquet
from data_contracts.schemas import ReferenceRow

Row = dict[str, Any]
Step = Callable[[], None]


def draw_rows(rows: int, prompt: int, response: int, vocabulary: int) -> list[Row]:
    """Preference rows of random ids, all prompts and all responses of one length."""
    draw = torch.Generator().manual_seed(0)

    def ids(length: int) -> list[int]:
        drawn: list[int] = torch.randint(10, vocabulary, (length,), generator=draw).tolist()
        return drawn

    def row(number: int) -> Row:
        asked, asked_en, answer, answer_en = ids(prompt), ids(prompt), ids(response), ids(response)
        return {
            "row_id": str(number), "prompt_length": prompt, "english_prompt_length": prompt,
            "chosen_ids": asked + answer, "rejected_ids": asked + answer_en,
            "english_chosen_ids": asked_en + answer_en, "english_rejected_ids": asked_en + answer,
        }  # fmt: skip

    return [row(number) for number in range(rows)]


def write_reference(folder: Path, rows: list[Row]) -> Path:
    """Reference values of the rows; which ones they are costs nothing."""
    values = [(row["row_id"], -1.0, -2.0, -1.0, -2.0) for row in rows]
    frame = pl.DataFrame(values, schema=ReferenceRow.create_empty().schema, orient="row")
    write_parquet(frame, folder / REFERENCE_VALUES, ReferenceRow)
    return folder


def step_of(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """One optimizer step on a loss, of the weights that have a gradient."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


def own_step(name: ObjectiveName, rows: list[Row], reference: Path, arguments: Any, attention_alone: bool) -> Step:
    """A step of one of this project's objectives, with a model of its own."""
    model = build_model(arguments.shape, arguments.device, arguments.dtype)
    if attention_alone:
        for weight in model.parameters():
            weight.requires_grad_(False)
        train_attention_alone(model)
    objective = load_objective(name)
    batch = objective.collator(0, {"reference": reference})(rows)
    moved = {key: value.to(arguments.device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    count = objective.count(moved).float()
    return step_of(model, lambda: objective.loss(model, moved, count).loss)


def step_of_trl(rows: list[Row], folder: Path, arguments: Any) -> Step:
    """A step of TRL's DPO on the same rows, two examples each, all weights."""
    import datasets
    import trl
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"<{number}>": number for number in range(SHAPES[arguments.shape][1]["vocab_size"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<1>")),
        pad_token="<0>", eos_token="<2>", unk_token="<1>",
    )  # fmt: skip
    examples = [
        {
            "prompt_ids": row[f"{side}chosen_ids"][: arguments.prompt],
            "chosen_ids": row[f"{side}chosen_ids"][arguments.prompt :],
            "rejected_ids": row[f"{side}rejected_ids"][arguments.prompt :],
            "ref_chosen_logps": -1.0,
            "ref_rejected_logps": -2.0,
        }
        for row in rows
        for side in ("", "english_")
    ]
    on_cpu = arguments.device == "cpu"
    settings = trl.DPOConfig(
        output_dir=str(folder), beta=0.1, report_to=[], use_cpu=on_cpu, bf16=arguments.dtype == "bfloat16",
        precompute_ref_log_probs=True, gradient_checkpointing=False, per_device_train_batch_size=2,
    )  # fmt: skip
    model = build_model(arguments.shape, arguments.device, arguments.dtype)
    known = datasets.Dataset.from_list([{"prompt": "<5>", "chosen": "<6>", "rejected": "<7>"}])
    trainer = trl.DPOTrainer(model, args=settings, train_dataset=known, processing_class=tokenizer)
    batch = trl.trainer.dpo_trainer.DataCollatorForPreference(pad_token_id=0)(examples)
    moved = {key: value.to(arguments.device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    return step_of(model, partial(trainer.compute_loss, model, moved))


def peak_of(step: Step) -> str:
    """The GPU memory that a step needs, in words; nothing on a CPU."""
    if not torch.cuda.is_available():
        return ""
    torch.cuda.reset_peak_memory_stats()
    step()
    return f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB"


def compared(arguments: Any, folder: Path) -> dict[str, Comparison]:
    """CLO to SFT, as the paper has it and with all weights; and DPO on all weights to TRL's."""
    rows = draw_rows(arguments.rows, arguments.prompt, arguments.response, SHAPES[arguments.shape][1]["vocab_size"])
    reference = write_reference(folder, rows)
    pairs = {
        "CLO / SFT": ("sft-both", "clo", True),
        "CLO, all weights / SFT": ("sft-both", "clo-all", False),
    }
    figures = {}
    for name, (base, new, attention_alone) in pairs.items():
        steps = (
            own_step(base, rows, reference, arguments, False),  # type: ignore[arg-type]
            own_step(new, rows, reference, arguments, attention_alone),  # type: ignore[arg-type]
        )
        figures[name] = compare(*steps, arguments.pairs)
        print(name, *(memory for memory in map(peak_of, steps) if memory))
    if find_spec("trl") is None:
        print("TRL is not installed; its side is left out")
        return figures
    for name, objective, attention_alone in (("CLO / TRL", "clo", True), ("CLO, all weights / TRL", "clo-all", False)):
        own = own_step(objective, rows, reference, arguments, attention_alone)  # type: ignore[arg-type]
        figures[name] = compare(step_of_trl(rows, folder / "trl", arguments), own, arguments.pairs)
    return figures


def main() -> None:
    options = parser(__doc__ or "", "preference", pairs=15)
    for name, value in {"rows": 4, "prompt": 64, "response": 128}.items():
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--shape", choices=sorted(SHAPES), default="small")
    options.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of weights and passes")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = compared(arguments, Path(folder))
    settings = {name: str(value) for name, value in vars(arguments).items()}
    report(f"Preferences, {arguments.shape}: ratios are new / base", figures, settings, arguments.output)


if __name__ == "__main__":
    main()
