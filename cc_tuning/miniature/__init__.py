"""The embedded default: a small multilingual world, and the tiny models that live in it.

Three stages make everything a recipe otherwise downloads. `world` writes instruction rows, benchmarks, translation
pairs and plain text from hand-written tables of six languages; `base_model` trains a tokenizer and an English-heavy
Llama on the text; `translator` trains a model of the NLLB architecture on the pairs. The other stages do not know that
what they are given is small.
"""
