"""Latency against the number of people, as a picture. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.stage_times import CROP, DECODE, DETECT, FRAME_DETECTED, NETWORK, TRACK, Spread, StageTimes
from pipeline.settings import SettingsError
from pipeline.sink_errors import SinkError

COLOURS = {CROP: "#9ecae1", NETWORK: "#3182bd", DECODE: "#08519c", TRACK: "#a1d99b", DETECT: "#fdae6b"}
RATES = (15, 30, 60)  # frames a second, drawn as limits where they are in sight


def require_matplotlib() -> None:
    """SettingsError that says what to install, before anything is measured."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingsError('--plot needs matplotlib: pip install -e ".[plot]"') from error


def layers(times: dict[int, StageTimes]) -> dict[str, list[float]]:
    """Medians in ms by stage, one for each number of people, that add up to a frame: network's without its decode."""
    rows = list(times.values())
    found = {
        stage: [row[stage].median for row in rows]
        for stage in (CROP, NETWORK, DECODE, TRACK, DETECT)
        if stage in rows[0]
    }
    if DECODE in found:
        pairs = list(zip(found[NETWORK], found[DECODE], strict=True))
        found[DECODE] = [min(network, decode) for network, decode in pairs]
        found[NETWORK] = [max(0.0, network - decode) for network, decode in pairs]
    return found


def plot_latency(times: dict[int, StageTimes], title: str, detect_every: int, file: Path) -> None:
    """Stacked stages over the number of people, and the range of the whole. SinkError if it cannot be written."""
    from matplotlib.figure import Figure

    people = list(times)
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    stacked = layers(times)
    labels = [stage if stage != DETECT else f"detect, every {_ordinal(detect_every)} frame" for stage in stacked]
    axes.stackplot(people, list(stacked.values()), labels=labels, colors=[COLOURS[stage] for stage in stacked])
    _mark_whole(axes, people, [row[FRAME_DETECTED] for row in times.values()])
    top = 1.15 * max(row[FRAME_DETECTED].most for row in times.values())
    for rate in RATES:
        if 1000 / rate < top:
            axes.axhline(1000 / rate, color="0.35", linewidth=0.8, linestyle="--")
            axes.annotate(f" {rate} frames/s", (1, 1000 / rate), xycoords=("axes fraction", "data"), va="center",
                          fontsize=8, color="0.35", annotation_clip=False)  # fmt: skip
    margin = 0.02 * (people[-1] - people[0]) or 0.5
    axes.set_xlim(people[0] - margin, people[-1] + margin)
    axes.set(xlabel="people in the frame", ylabel="ms from the frame to its poses", title=title, ylim=(0, top))
    axes.set_xticks(people)
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc="upper left", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(file, dpi=140)
    except (OSError, ValueError) as error:
        raise SinkError(f"{file}: the plot cannot be written ({error})") from error


def _mark_whole(axes: Any, people: Sequence[int], whole: Sequence[Spread]) -> None:
    medians = np.array([spread.median for spread in whole])
    below = medians - np.array([spread.least for spread in whole])
    above = np.array([spread.most for spread in whole]) - medians
    axes.errorbar(
        people, medians, yerr=[below, above], color="0.1", marker="o", markersize=4, linewidth=1.2, capsize=3,
        label="whole frame: median and range of the runs",
    )  # fmt: skip


def _ordinal(number: int) -> str:
    return {1: "", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")
