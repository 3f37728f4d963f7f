"""The Transform Matrix: what replaces the English pass when a CC-tuned model answers."""
