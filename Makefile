# Everything happens in .venv; nothing outside this folder is touched.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check wheel reports clean

demo: .venv/demo  ## Set up and run the main job on an embedded pair; ends with the path of its report.
	$(BIN)/circuitkit align toy-gpt2 toy-distilgpt2 --task ioi --out runs/demo

test: .venv/dev  ## Set up and run the tests, two files at a time.
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/dev  ## Lint, types and layer rules.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

wheel: .venv/dev  ## Build the wheel into dist/.
	$(BIN)/python -m build --wheel

reports: .venv/demo  ## Make the committed sample reports again.
	$(BIN)/circuitkit align toy-gpt2 toy-distilgpt2 --task ioi --device cpu --out runs/sample \
		--html reports/toy-gpt2-toy-distilgpt2-ioi.html
	$(BIN)/circuitkit discover toy-gpt2 --task ioi --method acdc --tau 0.05 --judge full --device cpu \
		--out runs/sample-circuit --html reports/toy-gpt2-ioi-acdc.html
	$(BIN)/circuitkit compare toy-gpt2 toy-distilgpt2 --task ioi --method path-patching --device cpu \
		--out runs/sample-comparison --html reports/toy-gpt2-toy-distilgpt2-ioi-circuits.html
	$(BIN)/circuitkit roles toy-gpt2 --task ioi --device cpu \
		--out runs/sample-roles --html reports/toy-gpt2-ioi-roles.html
	$(BIN)/circuitkit patch toy-gpt2 --task ioi --device cpu \
		--out runs/sample-patching --html reports/toy-gpt2-ioi-patching.html

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/dev: .venv/demo
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv dist build runs
