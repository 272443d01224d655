# Two commands on a machine with python3 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# What tests compare kennel with. Without their dependencies, which would bring another torch.
REFERENCES := torch-fidelity torchmetrics lightning-utilities clean-fid prdc efficientnet-lite-pytorch

.PHONY: demo test agreement lint install clean

demo: install
	$(BIN)/kennel demo --out demo

test: install
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# Kennel's numbers beside other tools', as a table; TABLE=docs/agreement.md also writes it there.
agreement: install
	KENNEL_AGREEMENT_TABLE=$(TABLE) $(BIN)/python -m pytest tests/agreement -m "slow or not slow" $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.installed

# torch first and alone: the constraint holds it while the rest is resolved.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[tensorboard]" --group dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps $(REFERENCES)
	touch $@

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
