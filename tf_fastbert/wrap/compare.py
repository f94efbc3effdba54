"""What --compare_stock reports: how the answers of two runs differ, and the time of each."""

from __future__ import annotations

import json
import os
from typing import Any

_SHOWN = 5


def squad(stock_dir: str, our_dir: str) -> dict[str, Any]:
    """Compares predictions.json.

    Returns:
      "answers" (how many), "differing" (how many differ) and "differences": question id -> [stock's answer, ours].

    Raises:
      ValueError: the two files don't answer the same questions.
    """
    stock, ours = (_read_json(os.path.join(folder, "predictions.json")) for folder in (stock_dir, our_dir))
    if stock.keys() != ours.keys():
        raise ValueError(f"{stock_dir} and {our_dir} do not answer the same questions ({len(stock)} and {len(ours)})")
    differences = {key: [answer, ours[key]] for key, answer in stock.items() if answer != ours[key]}
    return {"answers": len(stock), "differing": len(differences), "differences": differences}


def labels(stock_dir: str, our_dir: str) -> dict[str, Any]:
    """Compares test_results.tsv, a line of class probabilities for each example.

    Returns:
      "answers", "differing" (examples whose likeliest label differs), "differences" (their indices: [stock's label, ours]), and
      "max_probability_difference".

    Raises:
      ValueError: the files are not of the same size.
    """
    stock, ours = (_read_probabilities(os.path.join(folder, "test_results.tsv")) for folder in (stock_dir, our_dir))
    if [len(row) for row in stock] != [len(row) for row in ours]:
        raise ValueError(f"test_results.tsv in {stock_dir} and in {our_dir} do not have the same rows and columns")
    differences = {}
    largest = 0.0
    for i, (a, b) in enumerate(zip(stock, ours)):
        best_a, best_b = a.index(max(a)), b.index(max(b))
        if best_a != best_b:
            differences[str(i)] = [best_a, best_b]
        largest = max(largest, *(abs(x - y) for x, y in zip(a, b)))
    return {
        "answers": len(stock),
        "differing": len(differences),
        "differences": differences,
        "max_probability_difference": largest,
    }


def metrics(stock_dir: str, our_dir: str) -> dict[str, list[float]]:
    """eval_results.txt of both: name -> [stock's value, ours], for what depends on the model."""
    stock, ours = (_read_metrics(os.path.join(folder, "eval_results.txt")) for folder in (stock_dir, our_dir))
    return {name: [value, ours[name]] for name, value in stock.items() if name != "global_step"}


def report(comparison: dict[str, Any]) -> str:
    """The comparison as a few lines of text.

    Args:
      comparison: "timing": {"stock": ..., "fastbert": ...} as write_timing returns them; "note" (or ""); and, where there are
        any, "predictions" (what squad or labels returned) and "metrics".
    """
    stock, ours = comparison["timing"]["stock"], comparison["timing"]["fastbert"]
    rows = [("", "stock", "fastbert")]
    for key, title, form in (
        ("floatx", "type", "{}"),
        ("examples", "examples", "{}"),
        ("examples_per_second", "examples/s", "{:.1f}"),
        ("seconds", "seconds after the first batch", "{:.2f}"),
        ("first_batch_seconds", "first batch, seconds", "{:.2f}"),
    ):
        rows.append((title, form.format(stock[key]), form.format(ours[key])))
    for part in (part for part in stock["parts"] if part in ours["parts"]):
        rows.append((f"{part}, seconds", f"{stock['parts'][part]:.2f}", f"{ours['parts'][part]:.2f}"))
    for name, (a, b) in comparison.get("metrics", {}).items():
        rows.append((name, f"{a:.7g}", f"{b:.7g}"))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{title:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}" for title, a, b in rows]
    lines.append(f"fastbert is {ours['examples_per_second'] / stock['examples_per_second']:.2f} times as fast")
    if "predictions" in comparison:
        lines += _differences(comparison["predictions"])
    if comparison["note"]:
        lines.append(comparison["note"])
    return "\n".join(lines)


def _differences(predictions: dict[str, Any]) -> list[str]:
    lines = [f"{predictions['differing']} of {predictions['answers']} answers differ"]
    if "max_probability_difference" in predictions:
        lines[0] += f", the largest difference of a probability is {predictions['max_probability_difference']:.3g}"
    shown = list(predictions["differences"].items())[:_SHOWN]
    lines += [f"  {key}: stock {stock!r}, fastbert {ours!r}" for key, (stock, ours) in shown]
    if predictions["differing"] > len(shown):
        lines.append(f"  and {predictions['differing'] - len(shown)} more")
    return lines


def _read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _read_probabilities(path: str) -> list[list[float]]:
    with open(path, encoding="utf-8") as file:
        return [[float(word) for word in line.split("\t")] for line in file if line.strip()]


def _read_metrics(path: str) -> dict[str, float]:
    with open(path, encoding="utf-8") as file:
        return {name.strip(): float(value) for name, _, value in (line.partition("=") for line in file) if value}
