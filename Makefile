# make demo [CLIP=path]   make test   make check
PYTHON ?= python3
BIN := .venv/bin
CLIP ?=

.PHONY: demo test check
demo: .venv/.stamp
	$(BIN)/vlad demo $(if $(CLIP),--clip "$(CLIP)") -o demo

test: .venv/.stamp
	$(BIN)/pytest -n auto

check: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy finetune eval app

.venv/.stamp: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("vlad needs Python 3.11 or later, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --upgrade pip setuptools
	$(BIN)/pip install -q -e '.[dev]'
	touch $@
