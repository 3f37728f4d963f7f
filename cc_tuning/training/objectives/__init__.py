"""What a training run minimises: each objective is a value, declared by name in `table.py`."""
