"""What the connection costs inside vLLM: requests with it against the same requests with it switched off.

Timed inside vLLM's steps, in the forward pass and what is connected behind it, summed over the steps of a batch of
requests. Greedy, a fixed number of new tokens. The model and its export are made here; vLLM answers in its own
environment (`make vllm`), whose interpreter runs `serving_steps.py`.
"""

import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import torch
from random_models import SHAPES, build_model
from timing import parser, report, summarised
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.serving_export import export_for_serving
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer

ROOT = Path(__file__).resolve().parent.parent
WALL, CPU = 0, 1
"""Places of the two clocks in a timing."""
CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer with a chat template; prompts are ids, so it need not know words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(CONTROL_TOKENS)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=CONTROL_TOKENS[0]).save_pretrained(folder)
    load_tokenizer(folder, "qwen25").save_pretrained(folder)


def export_model(folder: Path, shape: str, device: str, dtype: str) -> Path:
    """A random connected model of the shape, as vLLM loads it."""
    checkpoint = folder / "checkpoint"
    write_tokenizer(checkpoint)
    model = CrossLingualModel.from_base(build_model(shape, device, dtype), ConnectionConfig())
    model.set_transform_matrix(torch.eye(model.config.hidden_size))
    model.save_pretrained(checkpoint, stop_token_ids=ChatPrompts(load_tokenizer(checkpoint)).stop_token_ids)
    export_for_serving(checkpoint, folder / "served")
    return folder / "served"


def main() -> None:
    options = parser(__doc__ or "", "serving", pairs=15)
    options.add_argument("--python", default=os.environ.get("CC_TUNING_VLLM_PYTHON", str(ROOT / ".vllm/bin/python")))
    options.add_argument("--shape", choices=sorted(set(SHAPES) - {"tiny"}), default="small")
    options.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of weights and passes")
    options.add_argument("--prompt", type=int, default=200, help="tokens of a prompt")
    options.add_argument("--rows", type=int, nargs="+", default=[1, 16], help="requests at a time")
    options.add_argument("--new-tokens", type=int, nargs="+", default=[1, 16, 40])
    options.add_argument("--compiled", action="store_true", help="torch.compile, and CUDA graphs on a GPU")
    arguments = options.parse_args()

    with tempfile.TemporaryDirectory() as name:
        directory = export_model(Path(name), arguments.shape, arguments.device, arguments.dtype)
        job = {key: getattr(arguments, key) for key in ("dtype", "prompt", "rows", "new_tokens", "pairs", "compiled")}
        (Path(name) / "job.json").write_text(json.dumps(job | {"model": str(directory)}))
        script = str(Path(__file__).with_name("serving_steps.py"))
        environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
        environment.pop("PYTHONPATH", None)
        subprocess.run([arguments.python, script, "job.json", "timings.json"], cwd=name, env=environment, check=True)
        timings = json.loads((Path(name) / "timings.json").read_text())

    figures, shares = {}, {}
    for case, pairs in timings.items():
        figures[case] = summarised([(off, connected) for off, connected, _ in pairs])
        shares[case] = [
            statistics.median(part[clock] / (connected[clock] - part[clock]) for _, connected, part in pairs)
            for clock in (WALL, CPU)
        ]
    settings = {name: str(value) for name, value in vars(arguments).items()} | {"connection_over_rest": shares}
    report(
        "vLLM's forward passes: base is the connection off, new is the transform", figures, settings, arguments.output
    )
    print("seconds of the connection per second of the rest, in the same steps (median over pairs):")
    print(f"{'':<28}{'wall':>9}{'CPU':>9}")
    for case, share in shares.items():
        print(f"{case:<28}{share[WALL]:>9.3f}{share[CPU]:>9.3f}")


if __name__ == "__main__":
    main()
