"""The linter and the type checker over the whole tree; each is shown a planted fault, so that silence means something."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKED = ("dsp", "hil", "tests", "benchmarks", "setup.py")


def ruff(folder: Path, *paths: str) -> tuple[int, str]:
    pytest.importorskip("ruff")
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--config",
        str(ROOT / "pyproject.toml"),
        "--output-format",
        "concise",
        *paths,
    ]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return ran.returncode, ran.stdout + ran.stderr


def test_the_linter_finds_nothing():
    status, told = ruff(ROOT, *CHECKED)
    assert status == 0, told


@pytest.mark.parametrize(
    ("text", "code"),
    [("import os\n", "F401"), ("def f(x=[]):\n    return x\n", "B006"), (f"x = '{'x' * 140}'\n", "E501"), ("x = (\n", "syntax")],
)
def test_the_linter_finds_what_is_planted(tmp_path, text, code):
    (tmp_path / "planted.py").write_text(text)
    status, told = ruff(tmp_path, "--no-cache", "planted.py")
    assert status == 1 and code in told


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The tree as it is imported, by links: mypy knows nothing of setuptools' package_dir. Of the kernels, the stubs alone."""
    folder = tmp_path_factory.mktemp("types")
    made = folder / "farfield"
    made.mkdir()
    for item in (ROOT / "dsp").iterdir():
        if item.name != "__pycache__":
            (made / item.name).symlink_to(item)
    (made / "hil").symlink_to(ROOT / "hil")
    (made / "kernels").mkdir()
    for stub in (ROOT / "ext" / "farfield" / "kernels").glob("*.pyi"):
        (made / "kernels" / stub.name).symlink_to(stub)
    return folder


WITHOUT_TORCH = """
[[tool.mypy.overrides]]
module = ["torch.*"]
ignore_missing_imports = true
[[tool.mypy.overrides]]
module = ["farfield.training.network", "farfield.training.batches", "farfield.training.fit", "farfield.training.export",
          "farfield.training.heads"]
ignore_errors = true
"""


def mypy(folder: Path, *what: str) -> tuple[int, str]:
    """Where torch is not installed, the modules that are made of it are not checked; the rest always is."""
    pytest.importorskip("mypy")
    config = folder / "pyproject.toml"
    config.write_text((ROOT / "pyproject.toml").read_text() + ("" if find_spec("torch") else WITHOUT_TORCH))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(config), "--no-error-summary",
               "--cache-dir", str(ROOT / ".mypy_cache"), *what]  # fmt: skip
    ran = subprocess.run(command, cwd=folder, env=os.environ | {"MYPYPATH": str(folder)}, capture_output=True, text=True)
    return ran.returncode, ran.stdout + ran.stderr


def test_the_types_hold(package):
    status, told = mypy(package, "-p", "farfield")
    assert status == 0, told


def test_the_type_checker_finds_what_is_planted(package):
    """Wrong uses of the public names and of the kernels' stubs, as a user's program might have them."""
    (package / "planted.py").write_text(
        "import farfield\n"
        "from farfield import kernels\n"
        "profile: int = farfield.load_profile('single')\n"
        "farfield.Frontend(profile='single')\n"
        "kernels.Features().process('sound')\n"
        "kernels.Nothing()\n"
        "def untyped(x): return x\n"
    )
    status, told = mypy(package, "planted.py")
    assert status == 1
    for line, code in ((3, "assignment"), (4, "arg-type"), (5, "arg-type"), (6, "attr-defined"), (7, "no-untyped-def")):
        assert any(said.startswith(f"planted.py:{line}: error:") and f"[{code}]" in said for said in told.splitlines()), told
