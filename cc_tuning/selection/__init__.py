"""From a source of instruction rows to the rows of one experiment."""
