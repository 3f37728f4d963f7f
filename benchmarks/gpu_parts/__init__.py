"""The parts of `benchmarks/gpu.py`, one module each with a function `measure(options, board)`."""
