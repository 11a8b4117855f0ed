# Two commands on a fresh machine with python3 and make: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DIST := dist

.PHONY: demo test lint format bench schema stories matrix dist zipapp clean

demo: $(STAMP)
	@echo '$$ ebpfcheck node'
	@$(BIN)/ebpfcheck node || echo "(exit code $$?)"
	@echo
	@echo '$$ ebpfcheck evaluate fixtures/snapshots/kubespray-ipvs/snapshot.json'
	@$(BIN)/ebpfcheck evaluate fixtures/snapshots/kubespray-ipvs/snapshot.json || echo "(exit code $$?)"

# By two at a time, since most tests wait for processes of theirs; those that look at the machine itself one by one.
test: $(STAMP)
	$(BIN)/pytest --numprocesses 2 --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck ebpfcheck/collect/survey.sh tests/kernels.sh .ci/run .github/actions/ebpfcheck/check.sh
	$(BIN)/shellcheck --shell sh --exclude SC2034,SC2154 ebpfcheck/render/plan_prelude.sh
	$(BIN)/shellcheck --shell sh --exclude SC2154 ebpfcheck/collect/trial.sh ebpfcheck/collect/objects_trial.sh
	$(BIN)/shellcheck ebpfcheck/trial/objects.sh

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m tests.bench

schema: $(STAMP)
	for name in report snapshot kernel plan diff matrix; do $(BIN)/ebpfcheck schema $$name > ebpfcheck/schema/$$name.json; done

stories: $(STAMP)
	$(BIN)/python -m tests.stories

matrix: $(STAMP)
	$(BIN)/python -m tests.accuracy --record $(wildcard .kernels/*)

dist: $(STAMP)
	rm -f $(DIST)/*.whl $(DIST)/*.tar.gz
	$(BIN)/python -m hatchling build -d $(DIST)
	$(BIN)/twine check --strict $(DIST)/*.whl $(DIST)/*.tar.gz

# One file, for machines that reach no package index: it runs with the Python and on the architecture it was built with.
zipapp: $(STAMP)
	mkdir -p $(DIST)
	$(BIN)/shiv --compressed --console-script ebpfcheck --preamble tools/zipapp_preamble.py \
	    --output-file $(DIST)/ebpfcheck.pyz $(ZIPAPP_FLAGS) --quiet --disable-pip-version-check .

clean:
	rm -rf $(VENV) build dist

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
