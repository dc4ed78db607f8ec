# The documents of docs/. What has to be installed is in docs/README.md.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
# The same sources give the same file.
export SOURCE_DATE_EPOCH = 0
export FORCE_SOURCE_DATE = 1
export TEXINPUTS = .:../../build/paper:../report:

.PHONY: report poster site paper clean

report poster: paper
	latexmk -cd -pdf -silent -halt-on-error -interaction=nonstopmode -outdir=../../build/$@ docs/$@/$@.tex
	cp build/$@/$@.pdf docs/$@/$@.pdf

paper:
	PYTHONPATH=. $(PYTHON) -m benchmarks paper

site:
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

clean:
	rm -rf build/paper build/report build/poster build/site
