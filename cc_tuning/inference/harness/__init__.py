"""Checkpoints with their connection in other people's evaluation harness: lm-eval's model `cc_tuning`."""
