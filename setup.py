"""Builds the kernels once per instruction level; everything else is in pyproject.toml.

Each `ext/farfield/kernels/NAME.pyx` becomes `farfield.kernels.LEVEL.NAME`, compiled with the flags of that level, so that
one wheel runs at full speed on every processor of its architecture and `farfield.kernels` chooses at import.

FARFIELD_CHECKED=1   adds the level `checked`: bounds checks on and undefined behaviour (overflow included) made fatal.
FARFIELD_LEVELS=a,b  builds only these levels.
"""

import os
import platform
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = Path("ext/farfield/kernels")

X86_LEVELS = {"base": ["-march=x86-64"], "v3": ["-march=x86-64-v3"], "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"]}
ARM_LEVELS = {"neon": ["-march=armv8-a"], "dotprod": ["-march=armv8.2-a+dotprod"]}
LEVELS = {"x86_64": X86_LEVELS, "amd64": X86_LEVELS, "aarch64": ARM_LEVELS, "arm64": ARM_LEVELS}
CHECKED = ["-DFARFIELD_CHECKED", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-fno-wrapv"]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}


# A butterfly's eight outputs need more checks against overlap than gcc makes by itself, and it would not vectorise them.
# Nothing reads errno after a square root, and a loop that has to set it is not vectorised either.
OPTIMISED = ["-O3", "--param=vect-max-version-for-alias-checks=64", "-fno-math-errno"]


def chosen_levels():
    levels = dict(LEVELS.get(platform.machine().lower(), {"base": []}))
    if only := os.environ.get("FARFIELD_LEVELS"):
        unknown = set(only.split(",")) - set(levels)
        if unknown:
            raise SystemExit(f"FARFIELD_LEVELS: got {sorted(unknown)}, this machine has {sorted(levels)}")
        levels = {name: levels[name] for name in only.split(",")}
    if os.environ.get("FARFIELD_CHECKED") == "1":
        levels["checked"] = CHECKED
    return levels


def compiled(level, flags, sources, name):
    """The sources as extensions `name.STEM`, translated into a build folder of the level's own."""
    checked = level == "checked"
    modules = cythonize(
        [Extension(f"{name}.{source.stem}", [str(source)]) for source in sources],
        include_path=["ext"],
        build_dir=f"build/cython/{level}",
        nthreads=os.cpu_count(),
        compiler_directives=DIRECTIVES | {"boundscheck": checked, "initializedcheck": checked},
    )
    for module in modules:
        # Set after cythonize, which remembers arguments by source file and would hand one level's flags to the next.
        module.extra_compile_args = [*OPTIMISED, *flags]
        module.include_dirs = [numpy.get_include()]
        module.define_macros = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
        module.extra_link_args = CHECKED if checked else ["-s"]  # an unstripped kernel is over 1 MB
    return modules


def extensions():
    """The processor check that picks a level, and the kernels at every level."""
    probe = KERNELS / "_cpu.pyx"
    sources = sorted(set(KERNELS.glob("*.pyx")) - {probe})
    built = compiled("common", [], [probe], "farfield.kernels")
    for level, flags in chosen_levels().items():
        (KERNELS / level).mkdir(exist_ok=True)  # an in-place build copies into it and does not make it
        built += compiled(level, flags, sources, f"farfield.kernels.{level}")
    return built


setup(
    packages=[
        "farfield",
        "farfield.alsa",
        "farfield.board",
        "farfield.capture",
        "farfield.cli",
        "farfield.evaluation",
        "farfield.store",
        "farfield.training",
        "farfield.hil",
        "farfield.hil.cli",
        "farfield.hil.report",
        "farfield.hil.rigs",
        "farfield.kernels",
    ],
    package_dir={
        "farfield": "dsp",
        "farfield.alsa": "dsp/alsa",
        "farfield.board": "dsp/board",
        "farfield.capture": "dsp/capture",
        "farfield.cli": "dsp/cli",
        "farfield.evaluation": "dsp/evaluation",
        "farfield.store": "dsp/store",
        "farfield.training": "dsp/training",
        "farfield.hil": "hil",
        "farfield.hil.cli": "hil/cli",
        "farfield.hil.report": "hil/report",
        "farfield.hil.rigs": "hil/rigs",
        "farfield.kernels": "ext/farfield/kernels",
    },
    package_data={
        "farfield": ["py.typed", "profiles/*.toml", "models/*.safetensors", "backbone/*.safetensors"],
        "farfield.board": ["PROTOCOL.md", "vectors.json"],
        "farfield.store": ["policy.txt", "PRIVACY.md"],
        "farfield.capture": ["PRIVACY.md"],
        "farfield.training": ["phrases/*.txt"],
        "farfield.hil": ["rooms/*/*", "sets/*.toml"],
        "farfield.hil.report": ["page.html"],
        "farfield.kernels": ["*.pyi", "*.pxd", "*.h"],
    },
    exclude_package_data={"farfield.kernels": ["*.pyx", "*.c"]},
    include_package_data=False,
    ext_modules=extensions(),
    options={"build_ext": {"parallel": os.cpu_count()}},
    zip_safe=False,
)
