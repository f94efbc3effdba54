"""Latency over tokens, log-log, with the floor: a PNG of a report. Needs matplotlib."""

from __future__ import annotations

import pathlib
import sys

from benchmarks.report import Report, is_ours


def save_plot(report: Report, path: pathlib.Path) -> None:
    """Writes `path`. Each implementation's best mode is one line.

    Raises:
      ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6), dpi=120)
    rows = sorted(report.rows, key=lambda row: (sum(report.lengths_of(row)), row))
    tokens = {row: sum(report.lengths_of(row)) for row in rows}
    lines = dict.fromkeys((r["name"], r["padded"]) for r in report.results)
    for name, padded in lines:
        best = {}
        for r in report.results:
            if (r["name"], r["padded"]) == (name, padded) and "milliseconds" in r:
                key = tuple(r["row"])
                best[key] = min(best.get(key, float("inf")), r["milliseconds"])
        points = [(tokens[row], best[row]) for row in rows if row in best]
        if points:
            ours = is_ours({"name": name})
            style = {"linewidth": 2.5 if ours else 1.2, "linestyle": "--" if padded else "-", "marker": "o" if ours else "."}
            axes.plot(*zip(*points), label=name + (" (padded)" if padded else ""), **style)
    floor = [(tokens[row], report.floor_ms(row)) for row in rows]
    if report.ceilings is not None:
        axes.plot(*zip(*floor), color="black", linestyle=":", label="floor")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("valid tokens in the batch")
    axes.set_ylabel("milliseconds of one encoder call")
    axes.set_title(report.header[0], fontsize=9)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def save_plot_if_possible(report: Report, path: pathlib.Path) -> None:
    """save_plot, or a line to stderr that there is no matplotlib."""
    try:
        save_plot(report, path)
    except ImportError as error:
        print(f"no plot: {error}", file=sys.stderr)
