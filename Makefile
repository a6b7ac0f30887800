# make demo: the main job. make test: all tests. Both set up .venv from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
SOURCES := $(shell find toolkit/runtime/cpu -name '*.cc' -o -name '*.h') CMakeLists.txt pyproject.toml

# The extra `real` as requirements: packages of which only the model files are wanted.
EXTRA_REAL := import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); \
  print(*p['project']['optional-dependencies']['real'], sep='\n')

.PHONY: setup demo test mutation bench sanitize neon ulp lint format clean
setup: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check "scikit-build-core>=1.0" "nanobind>=2.4" cmake ninja

$(STAMP): $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -e ".[test,parity,dev]"
	$(BIN)/python -c "$(EXTRA_REAL)" | $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r /dev/stdin
	touch $@

demo: setup
	$(BIN)/python examples/digits.py

test: setup
	$(BIN)/python -m pytest -n auto --dist worksteal

# Beside onnxruntime, openvino and torch; some minutes, on a machine that does nothing else.
bench: setup
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -e ".[bench]"
	$(BIN)/python -m benchmarks

# Are the tests of gradients strong enough? Breaks each rule in small ways; lists what no test sees.
mutation: setup
	$(BIN)/python -m tests.mutation

# Kernels and malformed calls on cores built with the sanitizers, in build/undefined, build/address,
# and many threads at once on build/thread. CMAKE_CXX_COMPILER_LAUNCHER=ccache helps.
sanitize: sanitize-undefined sanitize-address sanitize-thread

sanitize-%: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/$* -G Ninja \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DTOOLKIT_SANITIZE=$*
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/$*
	$(BIN)/python -m tests.sanitize $* build/$*

# The kernels as built for 64-bit ARM, in an emulator (Debian: g++-aarch64-linux-gnu, qemu-user): the
# operator table twice, the second time with packed constants, and what else calls single kernels.
EMULATED := tests/test_ops.py tests/test_properties.py \
  $(addprefix tests/runtime/test_,conv_algorithms.py conv_bounds.py elementwise.py matmul.py int8.py \
  normalization.py recurrent.py reduction.py pool.py drawn_kernels.py)
# What compares them with a session, or starts another process.
NOT_EMULATED := packed_once or batch_norm or bad_input or instruction_sets or shorter_vectors
neon: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/neon -G Ninja -DTOOLKIT_DRIVER=ON \
	  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/neon --target driver
	export TOOLKIT_DRIVER="qemu-aarch64 -L /usr/aarch64-linux-gnu $(CURDIR)/build/neon/driver"; \
	  $(BIN)/python -m pytest -n auto -p tests.native.plugin $(EMULATED) \
	    -k "not ($(NOT_EMULATED))" && \
	  TOOLKIT_DRIVER_CONSTANTS=1 $(BIN)/python -m pytest -n auto -p tests.native.plugin \
	    tests/test_ops.py -k "test_forward"

# The errors of the float32 functions over nearly every float, for each instruction set: minutes.
# `make ulp STEP=1000` tries a thousandth of them.
ulp: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S . -B build/driver -G Ninja -DTOOLKIT_DRIVER=ON
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/driver --target ulp
	build/driver/ulp $(or $(STEP),1) $(ONLY)

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	# The wheel puts cli/ and models/ under toolkit/; mypy sees them there by links.
	ln -sfn ../cli toolkit/cli && ln -sfn ../models toolkit/models
	$(BIN)/mypy; status=$$?; rm -f toolkit/cli toolkit/models; exit $$status
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files '*.cc' '*.h')

format: setup
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $$(git ls-files '*.cc' '*.h')

clean:
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache
