"""The cross-lingual connection of CC-Tuning inside vLLM.

A directory that `cc-tuning export` wrote is loaded like any other model, and every prompt is answered with the
connection unless its request says otherwise. `plugin.register` is what vLLM calls at start; docs/serving.md of the
project says what works together with it and what is refused.

`settings`, `connection` and `suffix_rows` are the method and need torch alone; the other modules join it to vLLM.
"""
