# The commands of this project; `make help` lists them. Everything is installed into .venv, from locked hashes.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
DEMO   ?= demo
# Not in the lock files: which build of it is right depends on the machine and its driver.
TORCH  ?= torch==2.13.0
# Files side by side: most tests wait for a daemon. PARALLEL= runs one after the other.
PARALLEL ?= -n 3 --dist loadfile

# --custom-compile-command keeps the two headers the same wherever the locks are made.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --custom-compile-command 'make lock' pyproject.toml --group build
# What most installations do without, each with a lock of its own: pyproject.toml's optional dependencies.
EXTRAS := weights notify validate usd heic raw exr
LOCKS  := requirements.lock $(EXTRAS:%=requirements-%.lock) requirements-gpu.lock requirements-gpu-build.lock \
          requirements-dev.lock
# What an image has beside the program: usd would add 160 MB to it.
IMAGE  := --extra weights --extra notify --extra validate --group gpu
# $(call compile_locks,FOLDER/,OPTIONS) writes every lock into FOLDER, starting from those that lie there.
compile_locks = $(COMPILE) $(2) -o $(1)requirements.lock >/dev/null && \
  $(foreach extra,$(EXTRAS),$(COMPILE) $(2) --extra $(extra) -o $(1)requirements-$(extra).lock >/dev/null &&) \
  $(COMPILE) $(2) $(IMAGE) -o $(1)requirements-gpu.lock >/dev/null && \
  $(COMPILE) $(2) $(IMAGE) --group gpu-build -o $(1)requirements-gpu-build.lock >/dev/null && \
  $(COMPILE) $(2) $(EXTRAS:%=--extra %) --group dev -o $(1)requirements-dev.lock >/dev/null

.DELETE_ON_ERROR:
.PHONY: help demo install install-dev torch $(EXTRAS) test test-torch torture lint format types lock lock-check units image machine clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' \
	  | while IFS="$$(printf '\t')" read -r name says; do printf '  make %-12s %s\n' "$$name" "$$says"; done

demo: install  ## make a folder, drop a sample capture into it and watch it become a mesh
	@$(BIN)/meshdrop demo $(DEMO)

install: $(VENV)/.installed  ## set up .venv with what the service needs
install-dev: $(VENV)/.installed-dev  ## the same and the tools for tests, lint and types

torch: $(VENV)/.torch  ## add torch, for nvdiffrec and reconviagen (TORCH=FILE_OR_VERSION)

weights: $(VENV)/.weights  ## add what fetching weights over a network needs (copying them from a disk needs nothing)

notify: $(VENV)/.notify  ## add what mail and chat messages need (webhook, ping and metrics need nothing)

validate: $(VENV)/.validate  ## add an engine for the Khronos glTF validator (a machine with Node needs none)

usd: $(VENV)/.usd  ## add what writing USDZ files needs

heic: $(VENV)/.heic  ## add what reading HEIC photographs needs

raw: $(VENV)/.raw  ## add what reading raw photographs needs (DNG, CR2, NEF, ARW)

exr: $(VENV)/.exr  ## add what reading OpenEXR depth needs

test: install-dev  ## run the tests; what this machine lacks is skipped and named at the end
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-torch: install-dev torch  ## add torch and run the tests that are skipped without it
	@$(BIN)/python -m pytest $(PARALLEL) -m torch $(ARGS)

torture: install-dev  ## disturb the service in every way there is, about an hour (PART=cuts: only that; ARGS=--help)
	@$(BIN)/python -m tests.torture --results build/torture.jsonl $(PART) $(ARGS)

lint: install-dev  ## look for mistakes, and for lines that `make format` would lay out otherwise, with ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo 'not laid out as it should be: run make format'; exit 1; }

format: install-dev  ## lay out the code with ruff
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

types: install-dev torch  ## check the types with mypy, which must see torch's
	@mkdir -p build/types/meshdrop && ln -sfn -t build/types/meshdrop ../../../daemon ../../../db ../../../models
	@$(BIN)/mypy

lock: install-dev  ## write the lock files anew from pyproject.toml (UPGRADE=--upgrade takes newer versions)
	$(call compile_locks,,$(UPGRADE))

# The present locks are the starting point, so that a newer release somewhere is no difference.
lock-check: install-dev  ## fail when a lock file does not belong to pyproject.toml
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp requirements*.lock "$$folder" && \
	$(call compile_locks,"$$folder"/) && for lock in $(LOCKS); do \
	  sed '/^#/d' "$$lock" >"$$folder/here"; sed '/^#/d' "$$folder/$$lock" >"$$folder/wanted"; \
	  diff -u --label "$$lock" --label "$$lock from pyproject.toml" "$$folder/here" "$$folder/wanted" \
	    || { echo "$$lock does not belong to pyproject.toml: run 'make lock' and commit it"; exit 1; }; \
	done; echo "the lock files belong to pyproject.toml"

units: install  ## write the files in systemd/ anew from daemon/install/templates, after a change there
	@$(BIN)/python -c 'from meshdrop.daemon.install.site import Site; from pathlib import Path; \
	  [Path("systemd", name).write_text(text) for name, text in Site().shipped().items()]'

image: install-dev  ## build the CPU image in plain folders, without Docker, and try it (root; ARGS=--help)
	@$(BIN)/python -m tests.image build/image $(ARGS)

machine: install-dev  ## follow docs/operations.md on a bare Debian in a container, half an hour (root; ARGS=--help)
	@$(BIN)/python -m tests.machine build/machine $(ARGS)

clean:  ## remove .venv and everything that was built; captures and results stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON): install Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), and Meshdrop needs 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "no virtual environment could be made (on Debian and Ubuntu: sudo apt-get install python3-venv)"; exit 1; }
	@touch $@

# setuptools stands in the locks (group "build"), so that building the project itself fetches nothing unhashed.
define install_locked
	@echo "installing $(1) into $(VENV) (about a minute the first time)"
	@$(PIP) install --require-hashes --requirement $(1)
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@
endef

$(VENV)/.installed: requirements.lock pyproject.toml setup.py | $(VENV)/.made
	$(call install_locked,requirements.lock)

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml setup.py | $(VENV)/.made
	$(call install_locked,requirements-dev.lock)
	@touch $(VENV)/.installed

$(VENV)/.torch: | $(VENV)/.installed
	@echo "installing $(TORCH) into $(VENV)"
	@$(PIP) install $(TORCH)
	@touch $@

$(EXTRAS:%=$(VENV)/.%): $(VENV)/.%: requirements-%.lock | $(VENV)/.installed
	@$(PIP) install --require-hashes --requirement $<
	@touch $@
