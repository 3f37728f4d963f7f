"""Instructions without a right answer, whose answers are judged in pairs (AlpacaEval, Li et al. 2023).

The 805 instructions are given in `evaluation.items`, in each language asked for, with a reference answer. Answers are
drawn, not greedy (Lee et al. 2025, appendix B), and what a rule can say of one by itself is its language; the stage
`judge` says the rest.
"""

from cc_tuning.evaluation.benchmark import ANSWERED_IN_LANGUAGE, Benchmark

ALPACA_EVAL = Benchmark(
    name="AlpacaEval",
    choices_kind="instruction",
    scoring="gold_contained",
    is_instruction=True,
    metrics=(ANSWERED_IN_LANGUAGE,),
)
