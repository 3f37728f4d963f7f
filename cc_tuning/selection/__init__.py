"""The rows of one experiment, chosen from a source of instruction rows."""
