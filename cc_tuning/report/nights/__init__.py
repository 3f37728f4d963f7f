"""A recipe that is run every night: the table of its scores, drops against the last good night, and the trend page."""
