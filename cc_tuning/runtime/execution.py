"""Where, how fast, and when to stop: what may change without changing a result, and therefore is never hashed."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data_contracts.errors import MirrorUnavailable
from data_contracts.object_store import check_mirror_url

WorkerCount = Annotated[int, Field(ge=1)] | Literal["one_per_gpu"]
"""`one_per_gpu` is a worker for each GPU that is there, and one where there is none."""
Attention = Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"]


class Execution(BaseModel):
    """Places, devices and batch sizes by memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path = Field(default=Path(".cc-tuning/store"), description="Folder of the verified artifacts.")
    mirror: str = Field(
        default="",
        description="URL of an object store that keeps copies of artifacts, such as s3://bucket/prefix, gs://… or "
        "file:///folder (extra `mirror`): asked for what `store` lacks, and filled with what is made; without one "
        "nothing is. Credentials come from the provider's own environment.",
    )
    output: Path = Field(
        default=Path("runs"), description="Folder of finished reports and checkpoints, by recipe name."
    )
    hub_files: Path = Field(
        default=Path("data/hub"),
        description="Folder of benchmark files that were put there by hand, for machines without a network: each at "
        "OWNER/NAME/PATH, as its repository has it. It is looked into before the hub's cache.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where models run; `auto` takes a GPU when there is one."
    )
    device_kind: str = Field(
        default="auto",
        description="The device that `plan` reckons with: a kind of cc_tuning/runtime/devices.csv such as `h100`, or "
        "`cpu`, or `auto`, this machine's first GPU or its processor. `plan --device` says it for once.",
    )
    processes: int = Field(default=1, ge=1, description="Training processes (torchrun ranks) on this machine.")
    quarantine_limit: float = Field(
        default=0.05, ge=0, le=1, description="Share of its rows that a stage may set aside before it stops."
    )
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="CPU threads per process. Results on a CPU are bit-equal for equal numbers of threads.",
    )
    device_batch_size: int = Field(
        default=16,
        ge=1,
        description="Training rows per device and micro-batch, on average, at most (paper: 16): rows of similar length "
        "go together, more of them when they are short. Gradients accumulate to `training.global_batch_size`.",
    )
    device_batch_tokens: int = Field(
        default=16384,
        ge=1,
        description="Padded tokens of a training micro-batch, at most; what memory has to hold. 16,384 are the paper's "
        "16 rows of 1,024 tokens. A longer row goes alone.",
    )
    device_logit_bytes: int = Field(
        default=1 << 28,
        ge=1,
        description="Bytes of float32 logits in a training pass, at most; about four times as many are held. Where the "
        "labels of a micro-batch have more, the head runs on some of them at a time, and once more in the backward "
        "pass (under `zero3` on all of them at once).",
    )
    max_padding: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="A step is cut into more, smaller micro-batches until less than this share of its tokens is "
        "padding; 1 cuts for memory alone. On a GPU it is cut into fewer where starting a micro-batch costs more than "
        "the padding that it saves.",
    )
    gradient_checkpointing: bool = Field(default=False, description="Recompute activations to save memory.")
    sharding: Literal["none", "fsdp2", "zero3"] = Field(
        default="none",
        description="How several training processes hold the model: each the whole of it (`none`, DDP), or a part of "
        "weights, gradients and optimizer state, by PyTorch's FSDP2 or DeepSpeed's ZeRO-3 (extra `deepspeed`).",
    )
    attention: Attention = Field(
        default="sdpa",
        description="Attention of transformers in training, sampling and evaluation; the last three need a GPU, flash "
        "attention also its own package.",
    )
    compile: bool = Field(
        default=False, description="Compile the blocks of each decoder layer for training (needs a C++ compiler)."
    )
    checkpoint_every_steps: int = Field(default=100, ge=1, description="Steps between training checkpoints.")
    log_every_steps: int = Field(default=1, ge=1, description="Steps between training log lines.")
    report_to: tuple[str, ...] = Field(
        default=(),
        description="Trackers of transformers' `report_to` that get every line: `tensorboard` (extra `tensorboard`), "
        "`wandb`, `mlflow`, ...; what they need is installed beside.",
    )
    translation_batch_tokens: int = Field(default=4096, ge=1, description="Padded source tokens per translation batch.")
    translation_shard_rows: int = Field(
        default=64, ge=1, description="Rows per translation shard; after a kill each worker loses one at most."
    )
    translation_workers: int = Field(
        default=1,
        ge=1,
        description="Processes that translate at the same time, each with the translator in its memory. With several "
        "GPUs take one per GPU; on a CPU set `threads` to its cores divided by the workers. Changes no byte.",
    )
    task_runner: Literal["threads", "ray"] = Field(
        default="threads",
        description="Who starts the workers of translation and inference: threads of this process, here, or Ray (extra "
        "`ray`), on every machine of its cluster that sees `store`.",
    )
    ray_address: str = Field(
        default="local",
        description="`local` starts Ray on this machine for as long as it is needed; otherwise a running cluster: "
        "`auto`, or `host:port`.",
    )
    ray_gpus_per_worker: float = Field(
        default=1.0, gt=0, description="GPUs that Ray gives each worker; 0.5 lets two share one."
    )
    distillation_shard_rows: int = Field(
        default=64, ge=1, description="Rows per shard of answers and their translations in +SDRRL; a kill loses one."
    )
    reference_shard_rows: int = Field(
        default=64, ge=1, description="Preference rows per shard of a reference model's values; a kill loses one."
    )
    transform_batch_size: int = Field(default=16, ge=1, description="Prompts per batch when activations are sampled.")
    inference_workers: WorkerCount = Field(
        default="one_per_gpu",
        description="Processes that answer prompts at the same time in evaluation, for +SDRRL and for reference "
        "values, each with the model in its memory; `one_per_gpu` is one for each GPU, and one where there is none. On "
        "a CPU set `threads` to its cores divided by the workers. Changes no byte on a CPU.",
    )
    vllm_python: Path = Field(
        default=Path(".vllm/bin/python"),
        description="Interpreter of the environment of vLLM (`make vllm`), for the engine `vllm`: each worker has a "
        "vLLM of its own there.",
    )
    vllm_url: tuple[str, ...] = Field(
        default=(),
        description="Addresses of vLLM servers that serve the model that is asked, such as http://localhost:8000/v1, "
        "for the engine `vllm` in the place of `vllm_python`; requests go to them in turn.",
    )
    vllm_key_variable: str = Field(
        default="VLLM_API_KEY",
        description="The environment variable with the key of these servers; the key itself is written nowhere.",
    )
    judge_address: str = Field(
        default="",
        description="Where the judge of win rates answers, in the form of OpenAI's interface: such as "
        "https://api.openai.com/v1, or http://localhost:8000/v1 for vLLM of your own.",
    )
    judge_key_variable: str = Field(
        default="OPENAI_API_KEY",
        description="The environment variable with the judge's key; the key itself is written nowhere.",
    )
    judgements: Path = Field(
        default=Path(".cc-tuning/judgements"),
        description="Folder of verdicts, each kept under what was asked, so that none is paid for twice.",
    )
    judge_workers: int = Field(default=8, ge=1, description="Questions to the judge at the same time.")
    judge_timeout_seconds: float = Field(default=60.0, gt=0, description="How long an answer is waited for.")
    judge_tries: int = Field(
        default=6, ge=1, description="Times that a question is asked until there is a verdict; then it stays open."
    )
    judge_wait_seconds: float = Field(
        default=2.0, ge=0, description="Before a question's second try; doubled before each further one, to a minute."
    )
    open_judgements_limit: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the questions that may stay open in a result; with more, what was answered is kept and "
        "the stage stops, and the next run asks only for what is open.",
    )
    evaluation_batch_size: int = Field(
        default=16, ge=1, description="Prompts per batch in evaluation, of +SDRRL and of reference values."
    )

    @field_validator("store", "output", "hub_files", "vllm_python", mode="before")
    @classmethod
    def _is_a_place(cls, place: object) -> object:
        if place == "":
            raise ValueError("is empty, which would be the folder that the command runs in; name a folder")
        return place

    @field_validator("mirror")
    @classmethod
    def _is_a_mirror(cls, url: str) -> str:
        if url:
            try:
                check_mirror_url(url)
            except MirrorUnavailable as error:
                raise ValueError(str(error)) from error
        return url
