"""The whole chain against the clock: 6 microphones, stereo reference, one word; and its instructions, counted by callgrind."""

import shutil
from pathlib import Path

import pytest
from chain_seconds import blocks, chain
from ratio import against_real_time, figures, instructions, report

from farfield import kernels

SECONDS = 10
BAR = 50  # times faster than real time: a real-time factor of 0.02
COUNTED = (1, 3)  # seconds of sound: the difference leaves out what starting costs


@pytest.mark.parametrize(("word", "frames"), [("alexa", 160), ("alexa", 512), ("alexa", 1024), ("view glass", 512)])
def test_chain_against_real_time(benchmark, word, frames):
    """CPU time of the process; the bar is asked of blocks of 512, the others are to know.

    How often a second look is asked for in this sound differs by the word, and is most of what it costs.
    """
    listening, stream = chain(word), blocks(SECONDS, frames)

    def ours():
        listening.reset()
        for block in stream:
            listening.process(block)

    measured = against_real_time(ours, SECONDS)
    bar = BAR if frames == 512 else None
    report(benchmark, f"chain, 6 microphones, 2 references, {word}, {frames}", "the clock", measured, SECONDS, bar)
    benchmark.extra_info["note"] = f"real-time factor {figures(1 / measured.median)}"
    benchmark.pedantic(ours, rounds=3)
    assert bar is None or measured.median >= bar


def test_instructions_of_a_second(benchmark, tmp_path):
    """Counted by valgrind's callgrind, which knows no AVX-512: kernels at level v3, or the machine's lower one."""
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind: sudo apt-get install valgrind")
    level = {"v4": "v3"}.get(kernels.cpu_level(), kernels.cpu_level())
    first, second = (instructions(seconds, level, tmp_path, Path(__file__).with_name("chain_seconds.py")) for seconds in COUNTED)
    millions = (second - first) / (COUNTED[1] - COUNTED[0]) / 1e6
    benchmark.extra_info["count"] = (
        f"whole chain, blocks of 512, level {level}: {figures(millions)} million instructions a second of sound (callgrind)"
    )
    listening, stream = chain(), blocks(1, 512)
    benchmark.pedantic(lambda: [listening.process(block) for block in stream], rounds=1)
    assert millions > 0
