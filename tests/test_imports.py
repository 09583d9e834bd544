"""Each module of the package can be the first that is imported: no two need each other."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDS = {"farfield.training": "torch", "farfield.store": "cryptography", "farfield.hil": "scipy.signal"}  # as extras bring them
LONG = os.environ.get("FARFIELD_LONG") == "1"
# Each in a child of its own. A package comes before its modules anyway, so those that it has imported by then are done with it.
FIRST = """
import contextlib, importlib, json, os, sys

def alone(name, then=lambda: None):
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            then()
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    os.waitpid(child, 0)

def inner():
    with contextlib.suppress(ImportError):
        importlib.import_module(needed or "click")  # not ours, and heavy: once for all of them
    for module in modules:
        if module not in sys.modules:
            alone(module)

for package, needed, modules in json.loads(sys.argv[1]):
    alone(package, inner)
"""


def failures(packages, **env):
    """What those say that cannot be imported first. packages: each with what it needs of others, and its modules."""
    command = [sys.executable, "-W", "error", "-c", FIRST, json.dumps(packages)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | env, check=True)
    return ran.stdout.splitlines()


def packages():
    """Those of the tree whose extras are installed; of what imports torch, which takes seconds each time, the package alone."""
    for folder, root in (("dsp", "farfield"), ("hil", "farfield.hil")):
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            package = ".".join([root, *init.parent.relative_to(ROOT / folder).parts])
            needed = next((extra for wanting, extra in NEEDS.items() if package.startswith(wanting)), None)
            names = sorted(path.stem for path in init.parent.glob("*.py") if not path.stem.startswith("__"))
            if needed is None or find_spec(needed.partition(".")[0]):
                is_quick = LONG or needed != "torch"
                yield package, needed if is_quick else None, [f"{package}.{name}" for name in names if is_quick]


def test_each_module_can_be_imported_first():
    asked = list(packages())
    assert {"farfield.cli", "farfield.board"} <= {package for package, _, _ in asked}
    assert failures(asked) == []


def test_two_that_need_each_other_are_found(tmp_path):
    """The planted case: either alone fails, whichever comes first."""
    (tmp_path / "one.py").write_text("from two import second\nfirst = 1\n")
    (tmp_path / "two.py").write_text("from one import first\nsecond = 2\n")
    told = failures([("json", None, ["one", "two"])], PYTHONPATH=str(tmp_path))
    assert len(told) == 2 and all("circular import" in line for line in told)


def test_the_benchs_commands_are_there_whoever_is_imported_first():
    code = "import farfield.hil.cli, farfield.cli; farfield.cli.main(['hil', 'compare', '--help'])"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "") and "Exit status 1 on a regression" in ran.stdout
    listed = subprocess.run([sys.executable, "-m", "farfield.cli", "--help"], capture_output=True, text=True, check=True)
    assert "hil " in listed.stdout and "listen " in listed.stdout
    none = subprocess.run([sys.executable, "-m", "farfield.cli", "no-such-command"], capture_output=True, text=True)
    assert none.returncode == 2 and none.stderr.startswith("farfield: No such command")
