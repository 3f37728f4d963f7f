"""A loss with its gradient, a fitted matrix and an answer of a tiny Llama: `-m tests.bare_use TOKENIZER_DIRECTORY`.

Prints what came out as JSON: the `loss`, the number of `new_tokens` and the `rows` that the matrix was fitted on.
"""

import json
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.text.prompts import ChatPrompts, connection_position, load_tokenizer
from cc_tuning.transform.activations import SampledPair, sampled_activations
from cc_tuning.transform.fitting import add_rows
from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.solve import fit_transform_matrix

HIDDEN = 32


def row(ids: list[int]) -> torch.Tensor:
    return torch.tensor([ids])


def main() -> None:
    prompts = ChatPrompts(load_tokenizer(sys.argv[1], "llama3"))
    example, english = prompts.encode_example("Mji mkuu ni upi?", "Nairobi"), prompts.encode_prompt("The capital?")
    config = LlamaConfig(
        vocab_size=320, hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = CrossLingualModel.from_base(LlamaForCausalLM(config), ConnectionConfig())
    length, ids = example.prompt_length, row(example.input_ids)
    loss = model.train()(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        labels=row([-100] * length + example.input_ids[length:]),
        connection_positions=torch.tensor([connection_position(length, 0)]),
        english_input_ids=row(english),
        english_attention_mask=torch.ones_like(row(english)),
        english_positions=torch.tensor([connection_position(len(english), 0)]),
    ).loss
    loss.backward()

    prompt = example.input_ids[:length]
    moments = StreamingMoments(HIDDEN)
    add_rows(moments, sampled_activations(model.eval(), [SampledPair("0", prompt, english)], 1, 0))
    fit = fit_transform_matrix(moments)
    model.set_transform_matrix(fit.matrix)
    answer = model.generate(row(prompt), torch.ones_like(row(prompt)), max_new_tokens=3, do_sample=False)
    print(json.dumps({"loss": loss.item(), "new_tokens": answer.shape[1] - length, "rows": fit.rows}))


if __name__ == "__main__":
    main()
