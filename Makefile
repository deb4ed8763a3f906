# make demo: sets up its own environment, segments two scans, trains for a minute or two (conemos demo). make test: sets up and passes the tests.
# make docs: the site of docs/ in site/. make lock: renews requirements/*.txt. make audit: known vulnerabilities in them.
# make release: wheel, source archive (twine check), SBOM and checksums in dist/.
PYTHON ?= python3
ENVIRONMENT ?= .venv
BIN := $(ENVIRONMENT)/bin
RELEASE := .venv-release
DOCS := .venv-docs
UPGRADE ?=

.PHONY: demo test unit lint docs lock audit sbom release

demo: $(ENVIRONMENT)/ready
	$(BIN)/conemos demo

test: $(ENVIRONMENT)/ready
	$(MAKE) --no-print-directory --jobs 2 lint unit

unit: $(ENVIRONMENT)/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal --durations 10

lint: $(ENVIRONMENT)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(ENVIRONMENT)/ready: pyproject.toml requirements/build.txt requirements/torch.txt requirements/cuda.txt requirements/development.txt
	$(PYTHON) -m venv $(ENVIRONMENT)
	bash requirements/install.sh $(ENVIRONMENT) development --editable .
	touch $@

$(RELEASE)/ready: requirements/build.txt requirements/release.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	    --requirement requirements/build.txt --requirement requirements/release.txt
	touch $@

$(DOCS)/ready: requirements/docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $<
	touch $@

docs: $(DOCS)/ready
	$(DOCS)/bin/python -m mkdocs build --strict

lock: $(RELEASE)/ready
	$(RELEASE)/bin/python scripts/lock.py $(UPGRADE)

# pip-audit asks PyPI for each locked version
audit: $(RELEASE)/ready
	for lock in build torch cuda development deploy label monailabel release docs; do \
	    $(RELEASE)/bin/pip-audit --disable-pip --require-hashes --requirement requirements/$$lock.txt || exit 1; done

sbom: $(RELEASE)/ready
	mkdir -p dist
	cat requirements/build.txt requirements/torch.txt requirements/runtime.txt | $(RELEASE)/bin/python -W ignore -m cyclonedx_py requirements \
	    --pyproject pyproject.toml --mc-type library --sv 1.6 --of JSON --output-reproducible --validate -o dist/sbom.json -

release: $(RELEASE)/ready
	rm -rf dist
	$(RELEASE)/bin/python -m build --no-isolation --outdir dist .
	$(RELEASE)/bin/twine check --strict dist/*
	$(MAKE) sbom
	cd dist && sha256sum * > SHA256SUMS
