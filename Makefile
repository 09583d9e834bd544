# make demo   replay the recorded room that ships, and show what was heard
# make test   run the tests, every kernel at every instruction level this machine has, on up to four processors
# make bench  measure the speed against other packages, in one run, and print the table
# Each sets up what it needs first: system packages, a virtual environment in .venv, the compiled package.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(wildcard ext/farfield/kernels/*.p* ext/farfield/kernels/*.h)

.PHONY: demo test bench test-training clean

demo: $(VENV)/ready-demo
	$(RUN)/farfield hil demo --picture demo.png

test: $(VENV)/ready-test
	$(RUN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

bench: $(VENV)/ready-bench
	$(RUN)/python -m pytest benchmarks

# torch brings gigabytes with it: what needs it is tested apart
test-training: $(VENV)/ready-training
	$(RUN)/python -m pytest tests/dsp/training tests/test_quality.py

clean:
	rm -rf $(VENV) build dist demo.png
	find ext -name '*.so' -delete

$(VENV)/ready-demo: $(SOURCES) | $(VENV)/python
	@echo "== Compiling and installing farfield, about two minutes (pip install -e '.[alsa,hil]')"
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[alsa,hil]'
	@touch $@

$(VENV)/ready-test: $(SOURCES) | $(VENV)/python
	@for missing in pulseaudio:pulseaudio libasound_module_pcm_pulse.so:libasound2-plugins strace:strace; do \
	  command -v $${missing%%:*} >/dev/null || find /usr/lib* -name $${missing%%:*} 2>/dev/null | grep -q . \
	    || packages="$$packages $${missing##*:}"; done; $(call install,$$packages)
	@echo "== Compiling and installing farfield and its tests, with a checked build beside the fast ones, about three minutes"
	FARFIELD_CHECKED=1 $(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[alsa,hil,test]'
	@touch $@ $(VENV)/ready-demo

$(VENV)/ready-bench: $(SOURCES) | $(VENV)/python
	@echo "== Compiling and installing farfield and the packages it is measured against"
	@for missing in valgrind:valgrind libspeexdsp.so.1:libspeexdsp1; do \
	  command -v $${missing%%:*} >/dev/null || /sbin/ldconfig -p | grep -q "$${missing%%:*}" \
	    || packages="$$packages $${missing##*:}"; done; $(call install,$$packages)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

$(VENV)/ready-training: $(VENV)/ready-test
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e '.[train]'
	@touch $@

# What must come from the system: where it may be installed it is, else the command to run is printed.
$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "farfield: $(PYTHON) is $$($(PYTHON) --version 2>&1), wanted Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "== Looking for a compiler, the Python headers and the ALSA headers"
	@packages=""; \
	 command -v gcc >/dev/null && echo '#include <math.h>' | gcc -E -x c - >/dev/null 2>&1 || packages="$$packages build-essential"; \
	 $(PYTHON) -c 'import os, sysconfig as s, sys; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' || packages="$$packages python3-dev"; \
	 $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || packages="$$packages python3-venv"; \
	 echo '#include <alsa/asoundlib.h>' | gcc -E -x c - >/dev/null 2>&1 || packages="$$packages libasound2-dev"; \
	 $(call install,$$packages)
	@echo "== Making a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@ln -sf bin/python $@

define install
packages="$(strip $(1))"; if [ -n "$$packages" ]; then \
  run="apt-get install --yes --no-install-recommends $$packages"; \
  if [ "$$(id -u)" = 0 ]; then as=""; elif sudo -n true 2>/dev/null; then as="sudo -n"; else as=no; fi; \
  if [ "$$as" = no ] || ! command -v apt-get >/dev/null || ! { echo "== Installing$$packages"; $$as apt-get update -qq && $$as $$run -qq >/dev/null; }; then \
    echo "farfield: the system lacks$$packages; install it, then run make again:" >&2; echo "  sudo $$run" >&2; exit 2; fi; fi
endef
