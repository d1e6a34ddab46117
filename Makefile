# make demo | test | test-all | check | docs | bench | clean.  Each makes its own .venv when there is none; nothing but Python is needed.
# make demo PHOTOS=FOLDER also fits the photographs of a folder that holds their keypoints.
# make test JOBS=1 runs the test files one after another, instead of one on each core.
# make bench: HMRFIT_MOTION and HMRFIT_PHOTOS name folders of motion and of photographs, for the benchmarks that need them.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell \
	$(name) -c "import sys, venv; print('$(name)' * ((3, 11) <= sys.version_info < (3, 14)))" 2>/dev/null)))
TORCH_CPU := https://download.pytorch.org/whl/cpu
PHOTOS ?=
JOBS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: demo test test-all check docs bench clean
.DEFAULT_GOAL := demo

demo: $(VENV)/base.stamp
	@$(BIN)/hmrfit demo -o out/demo
	@$(BIN)/hmrfit demo --video -o out/demo/video
	@if [ -n "$(PHOTOS)" ]; then echo; $(BIN)/hmrfit fit "$(PHOTOS)" -o out/photos --mesh glb; fi

test: $(VENV)/test.stamp
	@$(PYTEST)

# Also what needs npm, Chromium, Ray or Blender: a test whose tool is missing is skipped, and says which.
test-all: $(VENV)/test.stamp
	@$(PYTEST) --all -rs

check: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/python -m pytest tests/test_layers.py

# The documentation as a site of plain files, out/site; every link is checked, and nothing is loaded from elsewhere.
docs: $(VENV)/docs.stamp
	@$(BIN)/python -m mkdocs build --strict

bench: $(VENV)/test.stamp
	@$(BIN)/python benchmarks/compare.py

clean:
	@rm -rf $(VENV) build dist out *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What each kind of work needs, as extras of setup.py.
$(VENV)/base.stamp: EXTRAS :=
$(VENV)/test.stamp: EXTRAS := [test,datasets]
$(VENV)/dev.stamp: EXTRAS := [test,datasets,dev]
$(VENV)/docs.stamp: EXTRAS := [docs]

# torch without CUDA (200 MB instead of 3 GB) comes from its own index, where that can be reached.
$(VENV)/%.stamp: setup.py pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing hmrfit$(EXTRAS) into $(VENV) ..."
	@index=$$($(BIN)/python -c "import urllib.request as u; u.urlopen('$(TORCH_CPU)/torch/', timeout=5)" 2>/dev/null \
		&& echo "--extra-index-url $(TORCH_CPU)"); \
	$(BIN)/python .ci/install.py $$index -c constraints.txt -e '.$(EXTRAS)'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "hmrfit needs Python 3.11, 3.12 or 3.13 with venv; name one: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
