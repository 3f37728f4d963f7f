"""One CC-Tuning step against one step of ordinary fine-tuning of the same model on the same rows.

A step is forward, backward and AdamW, on the batches of the training stage. The paper reports 1.12 to 1.16 (Ye et al.
2025, table 3).
"""

from collections.abc import Callable

import torch
from timing import compare, parser, report
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.training.collate import ConnectionCollator, ResponseCollator, Row

Batch = dict[str, Tensor | int]


def build_model(device: str, layers: int, hidden_size: int) -> LlamaForCausalLM:
    """A random Llama with the proportions of the 8B model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=max(1, hidden_size // 128),
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).to(torch.device(device))


def draw_rows(rows: int, prompt: int, response: int, english: int) -> list[Row]:
    """Random rows of equal lengths, so that no batch has padding."""

    def ids(length: int) -> list[int]:
        return torch.randint(10, 32000, (length,)).tolist()

    return [
        {"input_ids": ids(prompt + response), "prompt_length": prompt, "english_input_ids": ids(english)}
        for _ in range(rows)
    ]


def on_device(batch: Batch, device: str) -> Batch:
    """The batch's tensors where the model is."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def step_of(model: torch.nn.Module, batch: Batch) -> Callable[[], None]:
    """A function that takes one optimizer step on `batch`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(**batch).loss.backward()
        optimizer.step()

    return step


def main() -> None:
    options = parser(__doc__ or "", "training_step", pairs=15)
    for name, value in {"rows": 1, "prompt": 256, "response": 64, "english": 128, "layers": 8, "hidden": 512}.items():
        options.add_argument(f"--{name}", type=int, default=value)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)

    rows = draw_rows(arguments.rows, arguments.prompt, arguments.response, arguments.english)
    plain_batch = on_device(ResponseCollator(pad_token_id=0)(rows), arguments.device)
    plain = step_of(build_model(arguments.device, arguments.layers, arguments.hidden), plain_batch)
    batch = on_device(ConnectionCollator(pad_token_id=0, offset=0)(rows), arguments.device)
    base = build_model(arguments.device, arguments.layers, arguments.hidden)
    connected = step_of(CrossLingualModel.from_base(base, ConnectionConfig()).to(arguments.device), batch)

    figures = {"CC-Tuning / ML-SFT": compare(plain, connected, arguments.pairs)}
    settings = {name: str(value) for name, value in vars(arguments).items()}
    report("One training step: base is ML-SFT, new is CC-Tuning", figures, settings, arguments.output)


if __name__ == "__main__":
    main()
