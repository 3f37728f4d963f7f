"""Training rows: text of a data setting first, then the token ids that the model will see."""
