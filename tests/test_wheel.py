"""The wheel: built once from the tracked files alone, opened, installed elsewhere and imported from there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
FOREIGN = {"dsp", "ext", "hil", "tests", "benchmarks", "build"}
MOST_BYTES = 1_000_000  # of a stripped kernel


def tracked() -> list[str]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a git checkout: the wheel is built from its tracked files")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built at the plainest level only, from a copy, so that neither the tree nor its build folder is touched."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked():
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    level = {"x86_64": "base", "aarch64": "neon"}.get(os.uname().machine, "base")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("FARFIELD_", "PYTHON"))}
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index",
               "--disable-pip-version-check", "-w", str(folder), str(folder / "source")]  # fmt: skip
    built = subprocess.run(command, env=env | {"FARFIELD_LEVELS": level}, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3_000:]
    (made,) = folder.glob("*.whl")
    return made


def wrongs(names: list[str], sizes: dict[str, int]) -> list[str]:
    """What may not be in a wheel: other top-level names, sources of the kernels, kernels that were not stripped."""
    found = []
    for name in names:
        path = PurePosixPath(name)
        if path.parts[0] != "farfield" and not (path.parts[0].startswith("farfield-") and ".dist-info" in path.parts[0]):
            found.append(f"{name}: beside farfield")
        if path.suffix in {".pyx", ".c", ".cpp", ".pyc", ".o"}:
            found.append(f"{name}: nothing to ship")
        if path.suffix == ".so" and sizes[name] > MOST_BYTES:
            found.append(f"{name}: {sizes[name]} bytes, not stripped")
    return found


def test_nothing_but_farfield_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as file:
        sizes = {info.filename: info.file_size for info in file.infolist()}
        (top,) = [file.read(name).decode() for name in sizes if name.endswith("top_level.txt")]
    assert wrongs(list(sizes), sizes) == []
    assert top.split() == ["farfield"]
    assert not FOREIGN & {PurePosixPath(name).parts[0] for name in sizes}


@pytest.mark.parametrize("planted", ["dsp/chain.py", "farfield/kernels/fft.pyx", "farfield/kernels/base/fft.c",
                                     "farfield/kernels/base/echo.so", "hil.py"])  # fmt: skip
def test_what_may_not_be_there_is_seen(planted):
    assert len(wrongs(["farfield/chain.py", planted], {planted: 2_000_000})) == 1


def test_everything_that_is_needed_is_in_it(wheel):
    """Each tracked file of the three wings under its import name, but for the kernels' sources."""
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    wings = {"dsp/": "farfield/", "hil/": "farfield/hil/", "ext/farfield/": "farfield/"}
    wanted = set()
    for name in tracked():
        for wing, package in wings.items():
            if name.startswith(wing) and not name.endswith((".pyx", ".md")):
                wanted.add(package + name.removeprefix(wing))
    assert wanted - names == set()
    for name in ("py.typed", "profiles/respeaker-4mic.toml", "training/phrases/alexa.txt", "kernels/__init__.pyi",
                 "kernels/fft.pxd", "hil/__init__.py", "cli/__init__.py", "board/PROTOCOL.md"):  # fmt: skip
        assert f"farfield/{name}" in names
    kernels = {Path(name).stem for name in tracked() if name.endswith(".pyx")} - {"_cpu"}
    built = [PurePosixPath(name) for name in names if name.endswith(".so")]
    assert {path.name.split(".")[0] for path in built} == kernels | {"_cpu"}
    assert len({path.parent for path in built}) == 2, "the level, and the check that picks one"


def test_its_metadata(wheel):
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = [file.read(n).decode() for n in file.namelist() if n.endswith("METADATA")]
        (entries,) = [file.read(n).decode() for n in file.namelist() if n.endswith("entry_points.txt")]
        assert any(n.endswith("licenses/LICENSE") for n in file.namelist())
    version = {}
    exec((ROOT / "dsp" / "_version.py").read_text(), version)
    assert f"\nVersion: {version['__version__']}\n" in metadata and wheel.name.startswith(f"farfield-{version['__version__']}-")
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    required = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    names = sorted("".join(c for c in line.split(">")[0] if c not in " ;") for line in required)
    assert names == ["click", "cobs", "numpy", "pyserial", "rich", "safetensors", "soundfile", "soxr"]
    assert "farfield = farfield.cli:main" in entries


PROBE = """
import numpy as np, pathlib, sys
import farfield, farfield.kernels, farfield.hil
from farfield.block import Block
folder = pathlib.Path(sys.argv[1])
for module in (farfield, farfield.kernels, farfield.hil):
    assert pathlib.Path(module.__file__).is_relative_to(folder), module.__file__
for foreign in ("dsp", "ext", "hil"):
    try:
        __import__(foreign)
    except ImportError:
        continue
    raise SystemExit(f"{foreign} can be imported")
for name in farfield.shipped_profiles():
    profile = farfield.load_profile(name)
    chain = farfield.Chain(profile, [farfield.load_model(model) for model in farfield.shipped_models()])
    chain.process(Block(np.zeros((4000, len(profile.microphones) + len(profile.references)), np.int16), 0))
assert (pathlib.Path(farfield.__file__).parent / "training" / "phrases" / "everyday.txt").read_text()
print(farfield.__version__, farfield.kernels.levels())
"""


def test_installed_elsewhere_it_runs_from_there(wheel, tmp_path):
    """With the tree's own installation hidden (-S), and numpy and the like from where they are."""
    target = tmp_path / "target"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check",
         "--root-user-action", "ignore", "--target", str(target), str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    assert {path.name for path in target.iterdir()} - {"bin", wheel.name} <= {"farfield"} | {
        path.name for path in target.glob("farfield-*.dist-info")
    }
    import numpy

    env = {key: value for key, value in os.environ.items() if not key.startswith(("FARFIELD_", "PYTHON"))}
    env["PYTHONPATH"] = os.pathsep.join([str(target), str(Path(numpy.__file__).parents[1])])
    ran = subprocess.run([sys.executable, "-S", "-c", PROBE, str(target)], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "base" in ran.stdout or "neon" in ran.stdout
