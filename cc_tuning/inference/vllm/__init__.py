"""Prompts answered by vLLM: in its own environment on this machine, or behind an address."""
