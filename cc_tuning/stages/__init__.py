"""The pipeline: a file is a stage, named as the command and the store name it."""
