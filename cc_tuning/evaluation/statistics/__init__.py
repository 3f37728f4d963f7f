"""How sure a score and a difference are: what is resampled, intervals, p values, seeds. It knows rows and numbers only.

`docs/statistics.md` has every equation with its source and the simulations behind the choices.
"""
