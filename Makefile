# Everything a developer types. Each target does its own set-up: a clean clone with Python 3.11+, git and make is enough.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check format bench crash fuzz-mail lock clean

VENV := .venv
LOCK := .requirements.lock
UV_VERSION := 0.13.8
READY := $(VENV)/.complete

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(READY)  ## see it work: example jobs, a mail server and the daemon, in a temporary folder
	@$(VENV)/bin/maildropd demo

test: $(READY)  ## everything: packages the tests need, linters, types, tests with branch coverage
	@.ci/debian-packages
	@$(MAKE) --no-print-directory check
	$(VENV)/bin/python -m pytest --cov --cov-report=term

check: $(READY)  ## the fast half: ruff, formatting, mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(READY)  ## let ruff format and mend what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(READY)  ## speed, beside nullmailer on the same machine in the same run
	@.ci/debian-packages
	tests/benchmarks/fetch_nullmailer.sh build/nullmailer || [ $$? = 69 ]
	NULLMAILER=build/nullmailer $(VENV)/bin/python -m pytest -s -o python_files='bench_*.py' tests/benchmarks

crash: $(READY)  ## kill the daemon at every single system call; relays down for long: takes some ten minutes
	@.ci/debian-packages
	CRASH_EVERY=1 E2E_DOWN_SECONDS=20 E2E_IDLE_SECONDS=20 $(VENV)/bin/python -m pytest -s tests/crash \
	    tests/e2e/test_relay_down.py tests/e2e/test_kill.py tests/e2e/test_resources.py

fuzz-mail: $(READY)  ## a million generated messages, each read back by three parsers; what goes wrong is kept in build/
	@.ci/debian-packages
	$(VENV)/bin/python -m tests.fuzz.fuzz_mail --messages $${MESSAGES:-1000000} --processes $${PROCESSES:-0} \
	    --first-seed $${FIRST_SEED:-0}

# uv alone decides here: no configuration file and no other index of this machine may leak into the lock.
lock:  ## pin every dependency anew, with hashes, for Python 3.11 to 3.13
	@test -x build/uv/bin/uv || { python3 -m venv build/uv && build/uv/bin/pip install -q uv==$(UV_VERSION); }
	@env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
	build/uv/bin/uv --no-config pip compile pyproject.toml --extra test --group build --upgrade --quiet \
	    --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	    --custom-compile-command 'make lock' --output-file $(LOCK)

clean:  ## remove what was built; the sources stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): $(LOCK) pyproject.toml .ci/venv
	@.ci/venv $(VENV) $(LOCK)
	@touch $@
