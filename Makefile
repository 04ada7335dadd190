# make demo: from nothing to a scored submission. make test, make check, make bench, make mutants: what keeps it honest.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed
# pytest-xdist: whole files of tests, in their order, in a process for each core
SHARED := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test slow soak mutants check bench bench-gpu clean

demo: $(READY)
	$(RUN) -m ensemble.build --members r50,rx50,ibn_a,ibn_b,se_ibn_a
	$(RUN) -m submit.make
	$(RUN) -m submit.report

test: $(READY)
	$(RUN) -m pytest $(SHARED)

slow: $(READY)
	$(RUN) -m pytest $(SHARED) -m "slow or not slow"

soak: $(READY)
	$(RUN) -m tests.soak

mutants: $(READY)
	$(RUN) -m tests.mutants $(MUTANTS)

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY)
	$(RUN) -m tests.benchmarks.retrieval
	$(RUN) -m tests.benchmarks.throughput

bench-gpu: $(READY)
	$(RUN) -m tests.benchmarks.gpu

clean:
	rm -rf $(VENV) runs submissions reports .mutants

$(READY): requirements.txt
	@echo "installing the pinned requirements into $(VENV): a minute or two, 6 GB"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
