# make demo     compile an example network and run it, from a fresh checkout
# make digits   train, quantise and simulate a network on real data, and say how often it is right
# make test     lint, types, tests
# make docs     write the generated documents again (some minutes)
# make validate the models beside published measurements
# make bench    what compiling and running costs
# make speed    how fast the simulator is, beside onnxruntime
# make light    nine large networks, float and int8, beside onnxruntime
# make bounds   how near to what the hardware allows networks run
# make clean    remove .venv and build
#
# All of it happens in .venv, which is made with $(PYTHON), 3.11 or newer.

PYTHON ?= python3
TARGET ?= eyeriss-like
BIN := .venv/bin
RESNET8 := examples/resnet8
DIGITS := build/digits
PACKAGES := compiler isa runtime targets
QUANTISE := --calibrate $(DIGITS)/calibrate.npz --precision int8

.PHONY: demo digits test docs validate bench speed light bounds clean

demo: .venv/installed
	mkdir -p build
	$(BIN)/dnncc $(RESNET8)/model.onnx --target $(TARGET) -o build/resnet8.elf
	$(BIN)/dnncc-run build/resnet8.elf --input $(RESNET8)/input.npz --output build/resnet8.npz
	$(BIN)/python $(RESNET8)/show.py build/resnet8.npz

digits: .venv/installed-dev
	$(BIN)/python examples/digits/train.py $(DIGITS)
	$(BIN)/dnncc $(DIGITS)/model.onnx $(QUANTISE) --emit onnx -o $(DIGITS)/int8.onnx
	$(BIN)/dnncc $(DIGITS)/model.onnx $(QUANTISE) --target $(TARGET) -o $(DIGITS)/model.elf
	$(BIN)/dnncc-run $(DIGITS)/model.elf --input $(DIGITS)/test.npz --output $(DIGITS)/scores.npz
	$(BIN)/python examples/digits/show.py $(DIGITS)

# One BLAS thread per test process: two of them on two cores get in each other's way.
test: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/mypy
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

docs: .venv/installed
	mkdir -p build
	$(BIN)/python -m dnncc.isa.manual > build/isa.md
	mv build/isa.md docs/isa.md
	$(BIN)/python -m dnncc.passes.manual > build/passes.md
	mv build/passes.md docs/passes.md
	$(BIN)/python -m dnncc.operators > build/operators.md
	mv build/operators.md docs/operators.md

validate: .venv/installed
	$(BIN)/python -m benchmarks.validate --write docs/validation.md

bench: .venv/installed
	$(BIN)/python -m benchmarks.run $(RESNET8)/model.onnx --target eyeriss-like
	$(BIN)/python -m benchmarks.run $(RESNET8)/model.onnx --target tpu-like

speed: .venv/installed-dev
	$(BIN)/python -m benchmarks.speed

light: .venv/installed-dev
	$(BIN)/python -m benchmarks.light

bounds: .venv/installed-dev
	$(BIN)/python -m benchmarks.bounds

# The stamps are newer than pyproject.toml where what it asks for is installed.
.venv/installed: pyproject.toml | .venv/made
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m compileall -q $(PACKAGES)
	touch $@

.venv/installed-dev: pyproject.toml | .venv/made
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m compileall -q $(PACKAGES)
	touch $@ .venv/installed

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit("dnncc needs Python 3.11 or newer: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	touch $@

clean:
	rm -rf .venv build
