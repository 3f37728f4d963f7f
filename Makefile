# Three commands a newcomer needs: make quickstart, make test, make check.
.POSIX:
.PHONY: quickstart test test-slow check bench bench-gpu docs clean

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= recipes/quickstart.yaml

# No tokenizer pool in forked workers.
export TOKENIZERS_PARALLELISM = false

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/cc-tuning run $(RECIPE)

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest --slow

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/transform.py
	$(BIN)/python benchmarks/materialization.py

# Random weights in the shapes of the paper's models. AdamW's moments of 8 billion weights do not fit one GPU: Adafactor.
bench-gpu: $(VENV)/.installed
	for shape in llama-3.1-8b qwen2.5-7b; do \
		$(BIN)/python benchmarks/training.py --shape $$shape --dtype bfloat16 --optimizer adafactor --rows 16 --pairs 5 \
			--output benchmarks/results/training_$$shape.json && \
		$(BIN)/python benchmarks/generation.py --shape $$shape --dtype bfloat16 --pairs 5 \
			--output benchmarks/results/generation_$$shape.json || exit 1; \
	done

docs: $(VENV)/.installed
	$(BIN)/python -m cc_tuning.pipeline.reference docs/recipe.md

clean:
	rm -rf $(VENV) .cc-tuning runs
