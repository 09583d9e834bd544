"""A replay as a picture: the sound before and after, the score track, the detections, the truth."""

from pathlib import Path

from farfield.hil.replay import RATE, Replay
from farfield.hil.scoring import Score

_WORD, _OTHER, _HEARD, _FALSE = "#2a7f4f", "#c9c9c9", "#1f4e9c", "#c0392b"


def draw(run: Replay, score: Score, path: Path) -> None:
    """Write the picture to `path` (PNG): two waveforms and the score over the same time axis."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    before, after, scores = figure.subplots(3, 1, sharex=True)
    seconds = np.arange(len(run.heard)) / RATE
    top = 1.05 * max(1, int(np.abs(run.heard.astype(np.int32)).max())) / 32_768
    for axes, sound, title in (
        (before, run.heard, "Before: the first microphone"),
        (after, run.enhanced, "After: echo canceller, and the beam nearest to the talker"),
    ):
        axes.plot(seconds[: len(sound)], sound / 32_768, color="#444444", linewidth=0.4)
        axes.set(title=title, ylabel="full scale", ylim=(-top, top))
    scores.plot(run.steps_s, run.p, color=_HEARD, linewidth=1.0)
    scores.axhline(run.opens_above, color="#888888", linestyle="--", linewidth=0.8)
    scores.text(0.995, run.opens_above - 0.03, f"threshold {run.opens_above:.2f}", transform=scores.get_yaxis_transform(),
                fontsize=8, color="#555555", ha="right", va="top")  # fmt: skip
    scores.set(title="Score of the wake word", xlabel="seconds", ylabel="probability", ylim=(0, 1.12), xlim=(0, seconds[-1]))
    rate = run.room.rate
    for axes in (before, after, scores):
        for spoken in run.room.speech:
            axes.axvspan(spoken.start / rate, spoken.end / rate, color=_OTHER, alpha=0.35, linewidth=0)
        for spoken in run.room.words:
            axes.axvspan(spoken.start / rate, spoken.end / rate, color=_WORD, alpha=0.3, linewidth=0)
        for event in run.events:
            axes.axvline(event.decision / rate, color=_FALSE if event in score.false_accepts else _HEARD, linewidth=1.2)
    for event in run.events:
        label = event.word if event.direction_deg is None else f"{event.word}, {event.direction_deg:.0f}°"
        scores.text(event.decision / rate - 0.05, 1.04, label, fontsize=8, color=_HEARD, ha="right")
    figure.suptitle("green: the wake word; grey: other speech; blue lines: detections; red lines: false accepts", fontsize=9)
    figure.savefig(path, dpi=110, format="png")
