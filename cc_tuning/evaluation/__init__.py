"""Benchmarks: items, an engine that answers them in a process of its own, scorers and statistics."""
