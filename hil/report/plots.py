"""The report's pictures, as PNG bytes: latencies, a room's timeline, a stretch of sound with its spectrogram and score."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield.hil.listening import Heard
from farfield.hil.scene import RATE

WORD, OTHER, HEARD, FALSE = "#2a7f4f", "#c9c9c9", "#1f4e9c", "#c0392b"
_DPI = 96
_POINTS = 1_500  # of a score track: what a timeline can show
Sounds = NDArray[np.int16]


def histogram(values_ms: Sequence[float], title: str, xlabel: str) -> bytes:
    """How often each latency came."""
    figure, axes = _figure(6.2, 2.6)
    values = np.asarray(values_ms, np.float64)
    axes.hist(values, bins=min(60, max(8, int(np.sqrt(len(values))))), color=HEARD)
    if values.max() > 0 and len(values) > 1_000:
        axes.set_yscale("log")
    for share, style in ((50, "-"), (95, "--"), (99, ":")):
        at = float(np.percentile(values, share))
        name = "median" if share == 50 else f"p{share}"
        axes.axvline(at, color=FALSE, linestyle=style, linewidth=1, label=f"{name} {at:.1f} ms")
    axes.legend(fontsize=7, frameon=False)
    axes.set(title=title, xlabel=xlabel, ylabel="how often")
    return _png(figure)


def timeline(found: dict[str, Any], heard: Heard) -> bytes:
    """A room from its start to its end: level, score, what was said, what was heard."""
    figure, (level, score) = _figure(11, 2.6, 2)
    seconds = heard.scene.frames / RATE
    at, peaks = _peaks(np.abs(heard.scene.samples[:, 0].astype(np.int32)))
    level.fill_between(at, 20 * np.log10(np.maximum(peaks, 1) / 32_768), -90, color="#777777", linewidth=0)
    level.set(ylabel="dBFS", ylim=(-90, 0))
    for track in heard.tracks:
        at, high = _highest(track.index / RATE, track.p)
        score.plot(at, high, color=HEARD, linewidth=0.7)
        score.axhline(track.opens_above, color="#888888", linestyle="--", linewidth=0.7)
    score.set(ylabel="score", ylim=(0, 1.05), xlabel="seconds", xlim=(0, seconds))
    score.plot([one["end"] / RATE for one in found["missed"]], [0.5] * len(found["missed"]), "x", color=FALSE)
    for axes in (level, score):
        for spoken in heard.scene.speech:
            axes.axvspan(spoken.start / RATE, spoken.end / RATE, color=OTHER, alpha=0.4, linewidth=0)
        for one in found["hits"]:
            axes.axvspan(one["start"] / RATE, one["end"] / RATE, color=WORD, alpha=0.35, linewidth=0)
        for one in found["missed"]:
            axes.axvspan(one["start"] / RATE, one["end"] / RATE, color=FALSE, alpha=0.35, linewidth=0)
        for one in found["hits"]:
            axes.axvline(one["decision"] / RATE, color=HEARD, linewidth=0.9)
        for one in found["false_accepts"]:
            axes.axvline(one["decision"] / RATE, color=FALSE, linewidth=1.4)
    return _png(figure)


def stretch(heard: Heard, start: int, end: int, marks: Sequence[tuple[int, int]], decision: int | None) -> bytes:
    """Spectrogram of the first microphone and the score tracks between two samples. marks: of words, drawn over it."""
    figure, (picture, score) = _figure(6.2, 3.2, 2)
    sound = heard.scene.samples[start:end, 0] / 32_768
    window = np.hanning(400)
    rows = np.lib.stride_tricks.sliding_window_view(sound, 400)[::80] * window
    power = 20 * np.log10(np.abs(np.fft.rfft(rows, 512)) + 1e-5)
    picture.imshow(power.T, origin="lower", aspect="auto", cmap="magma", vmin=float(power.max()) - 70,
                   extent=(start / RATE, end / RATE, 0, RATE / 2_000))  # fmt: skip
    picture.set(ylabel="kHz")
    for track in heard.tracks:
        inside = (track.index >= start) & (track.index <= end)
        score.plot(track.index[inside] / RATE, track.p[inside], color=HEARD, linewidth=1, marker=".", markersize=2)
        score.axhline(track.opens_above, color="#888888", linestyle="--", linewidth=0.7)
    score.set(ylabel="score", ylim=(0, 1.05), xlabel="seconds", xlim=(start / RATE, end / RATE))
    for first, last in marks:
        for axes in (picture, score):
            axes.axvspan(first / RATE, last / RATE, facecolor="none", edgecolor=WORD, linewidth=1.4)
    if decision is not None:
        for axes in (picture, score):
            axes.axvline(decision / RATE, color=FALSE, linewidth=1.4)
    return _png(figure)


def _figure(width: float, height: float, rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, 1, sharex=True)


def _png(figure: Any) -> bytes:
    made = io.BytesIO()
    figure.savefig(made, dpi=_DPI, format="png")
    return made.getvalue()


def _peaks(values: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The largest of each of so many stretches, and their seconds."""
    size = max(1, len(values) // _POINTS)
    whole = values[: len(values) // size * size].reshape(-1, size)
    return np.arange(len(whole)) * size / RATE, whole.max(axis=1)


def _highest(at: NDArray[np.float64], p: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    size = max(1, len(p) // _POINTS)
    whole = len(p) // size * size
    return at[:whole:size], p[:whole].reshape(-1, size).max(axis=1) if whole else p[:0]
