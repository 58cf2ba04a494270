# Each target sets up what it needs. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ENVIRONMENT := .venv/installed
BIN := .venv/bin
STUDY ?= quick
PAGE := _build/html/index.html
CORES := $(shell getconf _NPROCESSORS_ONLN)
SIDE_BY_SIDE := --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help report book pdf verify processors bench test check campaign lint clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile

# A failed run does not keep the report from being built: it says which runs are missing.
report: $(ENVIRONMENT) ## train a study here, quick or STUDY=name, and build the report about it
	@$(BIN)/effnet sweep "$(STUDY)"; status=$$?; \
	echo "Building the report ..."; \
	EFFNET_STUDY="$(STUDY)" $(BIN)/jupyter-book build -q book >/dev/null || exit 1; \
	echo "The report about your own runs is $(CURDIR)/$(PAGE)"; \
	echo "Open it in a browser: file://$(CURDIR)/$(PAGE)"; \
	exit $$status

book: $(ENVIRONMENT) ## build the report from the published records, training nothing
	$(BIN)/jupyter-book build -q -W -n --keep-going book
	@cp _build/html/figures/trade-off.svg book/_static/answer.svg # README's picture
	@echo "Open it in a browser: file://$(CURDIR)/$(PAGE)"

# Built apart from the pages: both builders would else share what they keep between builds.
pdf: $(ENVIRONMENT) ## print the whole report, run pages too, to _build/report.pdf (needs chromium)
	$(BIN)/jupyter-book build -q -W -n --keep-going book --path-output _build/pdf \
		--builder custom --custom-builder singlehtml
	@chromium --headless --no-sandbox --disable-gpu --no-pdf-header-footer \
		--user-data-dir=$$(mktemp -d) --print-to-pdf=_build/report.pdf \
		file://$(CURDIR)/_build/pdf/_build/singlehtml/index.html
	@echo "The report is $(CURDIR)/_build/report.pdf"

verify: $(ENVIRONMENT) ## repeat two short and one long published run here, and say whether they are the same
	$(BIN)/effnet verify published/quick --run 25-freeze6-none-plateau-seed0 \
		--run 28-freeze6-mlp-cosine-seed0 --run 01-freeze0-none-plateau-seed0

processors: $(ENVIRONMENT) ## compare bits with processors that qemu emulates (needs qemu-user), twenty minutes
	$(BIN)/python -m bench.processors

bench: $(ENVIRONMENT) ## measure speed against other people's loops, hours; goes on where it was stopped; only=expert: some
	$(BIN)/python -m bench --only "$(only)"

test: $(ENVIRONMENT) ## check the style and run all tests
	@$(call beside_lint,-n $(shell expr $(CORES) + 1)) # many a test waits for what it has started

check: $(ENVIRONMENT) ## check the style and run the tests that are quick, in about a minute
	@$(call beside_lint,-n $(CORES) -m "not slow")

# mypy works on one core, half a minute the first time: the tests need not wait for it.
define beside_lint
$(MAKE) --no-print-directory lint & lint=$$!; \
$(BIN)/pytest $(SIDE_BY_SIDE) $(1); tests=$$?; \
wait $$lint || { echo "The style is wrong: what lint said stands above the tests." >&2; exit 1; }; \
exit $$tests
endef
# What pytest compiles of the tests is kept, two seconds per process, also where images forbid it.
test check: export PYTHONDONTWRITEBYTECODE :=

campaign: $(ENVIRONMENT) ## try everything that could lose a run or pass off a false record, and tally it, half an hour
	$(BIN)/pytest -m "fault or cluster" --campaign

lint: $(ENVIRONMENT) ## check style, format, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove the built report, and the caches that no run uses; records, checkpoints and .venv stay
	rm -rf _build
	@if [ -x $(BIN)/effnet ]; then $(BIN)/effnet cache --clear; fi

# The scripts in .venv name the folder that they were made in.
MADE_IN := $(shell sed -n '1s|^\#!\(.*\)/\.venv/bin/.*|\1|p' $(BIN)/pip 2>/dev/null)
ifneq ($(filter-out $(CURDIR),$(MADE_IN)),)
.PHONY: moved
moved:
	@echo "The repository was moved from $(MADE_IN): .venv is mended."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@grep -rlIF "$(MADE_IN)/.venv" $(BIN) | xargs -r sed -i.before "s|$(MADE_IN)/.venv|$(CURDIR)/.venv|g"
	@rm -f $(BIN)/*.before
$(ENVIRONMENT): | moved
endif

# The packages of the lock, checked by hash; then this package, which adds none.
$(ENVIRONMENT): .lock/requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v[:2] != (3, 11) or v < (3, 11, 5))' || \
	{ echo "Python 3.11 (3.11.5 or later) is needed, and '$(PYTHON)' is not that. Install it, or say where it is: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "Installing the pinned packages into .venv: about 6 GB, several minutes, once."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r .lock/requirements.txt
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
