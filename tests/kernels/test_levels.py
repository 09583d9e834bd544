"""Choosing an instruction level, and what must not depend on it; the stubs against what was compiled."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield import kernels as farfield_kernels
from reference.networks import networks

LEVELS = farfield_kernels.levels()
CLASSES = (
    "RealFFT", "Aligner", "EchoCanceller", "Suppressor", "WPE", "Beamformer", "MVDR", "DirectionFinder",
    "Features", "Scorer", "Embedder",
)  # fmt: skip
STUBS = Path(farfield_kernels.__file__).with_suffix(".pyi")


def in_a_new_process(code, **environment):
    inherited = {k: v for k, v in os.environ.items() if k != "FARFIELD_CPU_LEVEL"}
    return subprocess.run([sys.executable, "-c", code], env=inherited | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_can_be_forced(level):
    code = (
        "from farfield import kernels as k; print(k.cpu_level());"
        f"print(*sorted({{getattr(k, name).__module__ for name in {CLASSES}}}))"
    )
    done = in_a_new_process(code, FARFIELD_CPU_LEVEL=level)
    assert done.returncode == 0, done.stderr
    forced, modules = done.stdout.splitlines()
    assert forced == level
    named = ("align", "beam", "direction", "echo", "embedding", "features", "fft", "mvdr", "scorer",
             "suppress", "wpe")  # fmt: skip
    assert modules.split() == [f"farfield.kernels.{level}.{module}" for module in named]


@pytest.mark.parametrize("environment", [{}, {"FARFIELD_CPU_LEVEL": ""}])
def test_by_itself_it_picks_the_fastest_and_never_the_checked_one(environment):
    done = in_a_new_process("from farfield import kernels as k; print(k.cpu_level())", **environment)
    assert done.stdout.split() == [[level for level in LEVELS if level != "checked" or len(LEVELS) == 1][-1]]


@pytest.mark.parametrize("level", ["sse9", "V3", "base ", "neon" if "base" in LEVELS else "v4"])
def test_a_level_that_cannot_run_is_one_clear_import_error(level):
    done = in_a_new_process("import farfield.kernels", FARFIELD_CPU_LEVEL=level)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if not line.startswith((" ", "Traceback"))]
    here = ", ".join(LEVELS)
    assert errors == [f"ImportError: FARFIELD_CPU_LEVEL: got {level!r}, this build on this processor has {here}"]


def test_at_level_gives_every_class_of_that_level():
    for level in LEVELS:
        classes = vars(farfield_kernels.at_level(level))
        assert classes.pop("level") == level
        assert set(classes) == set(CLASSES)
        assert {c.__module__.rpartition(".")[0] for c in classes.values()} == {f"farfield.kernels.{level}"}


def test_at_level_names_the_levels_that_there_are():
    with pytest.raises(ValueError, match=f"level: got 'sse9', this build on this processor has {', '.join(LEVELS)}"):
        farfield_kernels.at_level("sse9")


def test_a_kernel_missing_from_a_level_is_an_error(monkeypatch):
    """Planted: a class whose module no level has; were it left out in silence, tests at that level would skip it."""
    monkeypatch.setitem(farfield_kernels._MODULES, "Echo2", "echo2")
    with pytest.raises(ModuleNotFoundError, match=r"farfield\.kernels\.\w+\.echo2"):
        farfield_kernels.at_level(LEVELS[0])
    with pytest.raises(ModuleNotFoundError, match=r"farfield\.kernels\.\w+\.echo2"):
        _ = farfield_kernels.Echo2


def test_a_name_that_is_no_kernel_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'farfield\.kernels' has no attribute 'Resampler'"):
        _ = farfield_kernels.Resampler


@given(decades=st.floats(0, 5), frames=st.integers(0, 4000), seed=st.integers(0, 999))
def test_features_are_the_same_bytes_at_every_level(decades, frames, seed):
    x = np.random.default_rng(seed).standard_normal(frames) * 10.0**decades
    x = x.clip(-32768, 32767).astype(np.int16)
    made = {farfield_kernels.at_level(level).Features().process(x).tobytes() for level in LEVELS}
    assert len(made) == 1


@given(network=networks, frames=st.integers(0, 60), seed=st.integers(0, 999))
def test_scores_are_the_same_bytes_at_every_level(network, frames, seed):
    x = np.random.default_rng(seed).integers(0, 700, (frames, network["slots"][0]["channels"])).astype(np.uint16)
    made = {farfield_kernels.at_level(level).Scorer(**network).process(x).tobytes() for level in LEVELS}
    assert len(made) == 1


# every parameter of every constructor, so that one that the stubs lack or have too much is noticed
EXAMPLES = {
    "RealFFT": {"size": 64, "batch": 2},
    "Aligner": {"microphones": 1, "references": 1, "late_samples": 0, "longest_samples": 100, "drift": True},
    "EchoCanceller": {
        "microphones": 1, "references": 1, "hop": 64, "tail_samples": 64, "memory_s": 1.0, "noise_smoothing": 0.5,
        "initial": 1.0, "repair": 1,
    },
    "Beamformer": {"weights": np.zeros((1, 257, 1), np.complex64)},
    "MVDR": {
        "steering": np.ones((1, 257, 2), np.complex64), "coherence": np.tile(np.eye(2), (257, 1, 1)), "forgetting": 0.9,
        "loading": 0.1, "deferral_hops": 4, "gated": False, "postfilter_db": 20.0,
    },
    "DirectionFinder": {
        "positions_mm": np.eye(3), "lowest_hz": 300.0, "highest_hz": 7500.0, "smoothing": 0.8, "delays_samples": np.zeros(3),
    },
    "Features": {},
    "WPE": {"microphones": 2, "taps": 2, "late_hops": 2, "forgetting": 0.99, "load": 0.1},
    "Suppressor": {"microphones": 1, "echo": True, "noise": False, "comfort_noise": False, "late_samples": 0},
    "Scorer": {
        "stride": 1,
        "quantiser": {"multiplier": 1 << 30, "shift": 30},
        "slots": [{"frames": 1, "channels": 1, "zero": 0, "fill": 0}] * 2,
        "layers": [{
            "kind": "conv", "source": 0, "source_channel": 0, "target": 1, "target_channel": 0,
            "weights": np.ones((1, 1, 1), np.int8), "bias": np.zeros(1, np.int32), "low": -128, "high": 127,
            "multiplier": np.array([1 << 30], np.int32), "shift": np.zeros(1, np.int8), "away_from": 1,
        }],
    },
    "Embedder": {
        "bins": 1,
        "quantiser": {"multiplier": 1, "shift": 1, "offset": 0, "zero": 0},
        "layers": [{"kind": "pool", "rows": 1, "columns": 1}],
        "most_frames": 9,
    },
}  # fmt: skip


def stubbed():
    """class -> {member: its function in the stubs}"""
    tree = ast.parse(STUBS.read_text())
    return {
        node.name: {f.name: f for f in node.body if isinstance(f, ast.FunctionDef)}
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def parameters(function):
    """(name, default as text, keyword only) of each but self."""
    a = function.args
    defaults = [None] * (len(a.args) - len(a.defaults)) + [ast.unparse(d) for d in a.defaults]
    plain = [(p.arg, d, False) for p, d in zip(a.args, defaults, strict=True)][1:]
    only = [(p.arg, d and ast.unparse(d), True) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    return plain + only


def is_property(function):
    return any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list)


@pytest.mark.parametrize("name", CLASSES)
def test_the_stubs_have_the_members_that_were_compiled(kernels, name):
    compiled, stub = getattr(kernels, name), stubbed()[name]
    assert {m for m in dir(compiled) if not m.startswith("_")} == set(stub) - {"__init__"}
    for member, function in stub.items():
        if member == "__init__":
            continue
        found = getattr(compiled, member)
        assert callable(found) != is_property(function), member
        if callable(found):
            signature = list(inspect.signature(found).parameters.values())[1:]
            wanted = [(p.name, None if p.default is p.empty else repr(p.default), p.kind is p.KEYWORD_ONLY) for p in signature]
            assert parameters(function) == wanted, member


@pytest.mark.parametrize("name", CLASSES)
def test_the_stubs_have_the_constructors_that_were_compiled(kernels, name):
    make, wanted = getattr(kernels, name), parameters(stubbed()[name]["__init__"])
    example = EXAMPLES[name]
    assert [p for p, _, _ in wanted] == list(example)
    made = make(**example)
    make(**{p: example[p] for p, default, _ in wanted if default is None})
    make(*[example[p] for p, _, keyword_only in wanted if not keyword_only])
    with pytest.raises(TypeError):
        make(**example, tail=1)
    if any(keyword_only for _, _, keyword_only in wanted):
        with pytest.raises(TypeError, match="positional"):
            make(*example.values())
    for member, function in stubbed()[name].items():
        if is_property(function):
            kinds = ["NoneType" if kind == "None" else kind for kind in ast.unparse(function.returns).split(" | ")]
            value = getattr(made, member)
            assert (f"NDArray[np.{value.dtype}]" if isinstance(value, np.ndarray) else type(value).__name__) in kinds
            with pytest.raises(AttributeError):
                setattr(made, member, value)
    with pytest.raises(AttributeError):
        made.surprise = 1


def test_the_stubs_name_what_the_module_names():
    tree = ast.parse(STUBS.read_text())
    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert named == set(farfield_kernels.__all__) == {*CLASSES, "at_level", "cpu_level", "levels"}
