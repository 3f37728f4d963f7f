"""The end of a run: whatever the engine and the adapter, `checkpoint/` is an ordinary Hugging Face directory."""

import shutil

import torch
from transformers import PreTrainedTokenizerBase, Trainer
from transformers.integrations import unset_hf_deepspeed_config

from cc_tuning.model.checkpoint import write_base_model
from cc_tuning.model.earlier_transformers import write_earlier_tokenizer_keys
from cc_tuning.text.prompts import stop_token_ids
from cc_tuning.training.distributed import gathered_state
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.models import JobModel, build_model
from data_contracts.files import sha256_of_file
from data_contracts.layout import ADAPTER, CHECKPOINT


def whole_model(
    job: TrainingJob, trainer: Trainer, trained: JobModel, tokenizer: PreTrainedTokenizerBase
) -> JobModel | None:
    """The trained model with all of its weights in this process, on rank zero; None elsewhere. Every rank must call it.

    A sharded model is built a second time, on the CPU, from the base model's files, and filled with what is gathered.
    """
    if job.execution.sharding == "none":
        return trained if trainer.is_world_process_zero() else None
    state = gathered_state(trainer)
    if state is None:
        return None
    unset_hf_deepspeed_config()  # or it would be built in parts again
    whole = build_model(job, tokenizer)
    whole.trained.load_state_dict(state)
    if whole.connected is not None and trained.connected is not None:
        statistics = trained.connected.normalisation.statistics  # no part of a state dict
        if statistics is not None:
            whole.connected.normalisation.use(statistics)
    return whole


def save_checkpoint(job: TrainingJob, model: JobModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write `checkpoint/`, whole or not at all: a Hugging Face directory that any tool loads, and that stops.

    An adapter is kept in `adapter/` as peft writes it, and merged: nothing after training knows that there was one.
    """
    partial, final = job.folder / f"{CHECKPOINT}.partial", job.folder / CHECKPOINT
    for folder in (partial, final, job.folder / ADAPTER):
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir()
    if model.adapter is not None:
        from cc_tuning.training.lora import merge, save_adapter  # the `lora` extra

        save_adapter(model.adapter, job.folder / ADAPTER)
        merge(model.adapter)
    model.base.to(getattr(torch, job.config.training.dtype))
    model.base.generation_config.pad_token_id = tokenizer.pad_token_id
    stop_ids = stop_token_ids(tokenizer)
    if model.connected is not None:
        model.connected.save_pretrained(partial, stop_ids, {"training_rows": sha256_of_file(job.rows)})
    else:
        write_base_model(partial, model.base, stop_ids)
    shutil.copytree(job.tokenizer, partial, dirs_exist_ok=True)
    write_earlier_tokenizer_keys(partial)
    partial.rename(final)
