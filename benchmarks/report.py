"""The table of a benchmark run, from its result lines."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.shapes import MODELS, TARGETS, spread_lengths
from tf_fastbert.cuda.ceilings import Ceilings

Result = dict[str, Any]  # a line of benchmarks.peers.worker


def is_ours(result: Result) -> bool:
    return result["name"].startswith("ours")


def is_quantized(result: Result) -> bool:
    return result["name"].startswith("8-bit")


def encoder_work(model: str, lengths: list[int], bytes_per_value: int) -> tuple[float, float]:
    """(operations, bytes) no encoder can do without: the products over the valid tokens; weights, input and output once."""
    layers, heads, size, inner = MODELS[model]
    hidden = heads * size
    weights = 4 * hidden * hidden + 2 * hidden * inner
    tokens = sum(lengths)
    flops = layers * (2.0 * tokens * weights + 4.0 * hidden * sum(n * n for n in lengths))
    return flops, float(bytes_per_value * (layers * weights + 2 * tokens * hidden))


@dataclasses.dataclass(frozen=True)
class Report:
    """All results of one run.

    header: lines of text for the top (device, versions); results: of all families; ceilings: None where they could not be
    measured; notes: lines for the end, such as what is not installed; lengths: of the rows' sequences, where they were given: then
    the table also says how many sequences a second each implementation runs.
    """

    model: str
    dtype: str
    rows: list[tuple[int, int]]
    header: list[str]
    results: list[Result]
    ceilings: Ceilings | None
    notes: list[str]
    lengths: dict[tuple[int, int], list[int]] = dataclasses.field(default_factory=dict)

    def lengths_of(self, row: tuple[int, int]) -> list[int]:
        """Valid tokens of each sequence of a row."""
        return self.lengths.get(row) or spread_lengths(*row)

    def of_row(self, row: tuple[int, int]) -> list[Result]:
        return [r for r in self.results if tuple(r["row"]) == tuple(row)]

    def floor_ms(self, row: tuple[int, int], padded: bool = False) -> float | None:
        """The least time at the measured ceilings, padding removed or not."""
        if self.ceilings is None:
            return None
        lengths = [row[1]] * row[0] if padded else self.lengths_of(row)
        return self.ceilings.milliseconds(*encoder_work(self.model, lengths, 4 if self.dtype in ("float32", "tf32") else 2))

    def best(self, row: tuple[int, int], ours: bool, padded_only: bool = False) -> Result | None:
        """The fastest of ours, or of the peers. Ours inside TensorFlow counts as ours only for `ours`."""
        timed = [r for r in self.of_row(row) if "milliseconds" in r and is_ours(r) == ours and not is_quantized(r)]
        timed = [r for r in timed if r["padded"] or not padded_only]
        if ours and not padded_only:
            timed = [r for r in timed if not r["padded"]] or timed
        return min(timed, key=lambda r: r["milliseconds"], default=None)

    def columns(self, time: str = "milliseconds") -> list[tuple[str, str, bool]]:
        """(name, mode, padded) of each implementation that was timed at all, in the order in which they came."""
        return list(dict.fromkeys((r["name"], r["mode"], r["padded"]) for r in self.results if time in r))

    def _cells(self, row: tuple[int, int], time: str = "milliseconds") -> list[str]:
        """The times of a row in the order of columns(time)."""
        times = {(r["name"], r["mode"], r["padded"]): r.get(time) for r in self.of_row(row)}
        return [_number(times.get(column)) for column in self.columns(time)]

    def _bursts(self) -> list[str]:
        """A table of its own: they are no times of a call among many, which the other columns are."""
        columns = self.columns("burst_milliseconds")
        if not columns:
            return []
        head = ["B", "S", *(_title(*column) for column in columns)]
        lines = ["", "Five calls after a rest of 20 ms, in turns:", "", "| " + " | ".join(head) + " |", "|--" * len(head) + "|"]
        for row in self.rows:
            lines.append("| " + " | ".join([*map(str, row), *self._cells(row, "burst_milliseconds")]) + " |")
        return lines

    def markdown(self) -> str:
        """Milliseconds by row and implementation, then why something is missing, then how far the outputs lie apart."""
        titles = [_title(*column) for column in self.columns()]
        head = ["B", "S", "T", "floor", *titles, "best peer", "ours / best peer", "ours / floor", "target"]
        padded_too = any(is_ours(r) and r["padded"] for r in self.results)
        if padded_too:
            head += ["floor, padded", "ours padded / best padded peer"]
        lines = [*self.header, "", "| " + " | ".join(head) + " |", "|--" * len(head) + "|"]
        for row in self.rows:
            ours, peer, floor = self.best(row, True), self.best(row, False), self.floor_ms(row)
            target = TARGETS.get((self.model, self.dtype), {}).get(tuple(row))
            cells = [str(row[0]), str(row[1]), str(sum(self.lengths_of(row))), _number(floor)]
            cells += self._cells(row)
            cells += [_number(peer and peer["milliseconds"]), _ratio(ours, peer)]
            cells += [_ratio(ours, floor and {"milliseconds": floor}), _number(target, 2)]
            if padded_too:
                ratio = _ratio(self.best(row, True, True), self.best(row, False, True))
                cells += [_number(self.floor_ms(row, padded=True)), ratio]
            lines.append("| " + " | ".join(cells) + " |")
        lines += self._bursts()
        lines += ["", *(f"- {note}" for note in [*self.notes, *self._examples(), *self._missing(), *self._errors()])]
        return "\n".join(lines)

    def _examples(self) -> list[str]:
        """Sequences a second, of the rows whose lengths were given."""
        lines = []
        for row in self.lengths:
            rates = [
                f"{1e3 * row[0] / r['milliseconds']:,.0f} ({_title(r['name'], r['mode'], r['padded'])})"
                for r in self.of_row(row)
                if "milliseconds" in r
            ]
            lines.append(f"examples a second at {row[0]}x{row[1]}: {', '.join(rates) or 'none timed'}")
        return lines

    def _missing(self) -> list[str]:
        reasons: dict[tuple[str, str], list[str]] = {}
        for r in self.results:
            if "not_timed" in r:
                reasons.setdefault((_title(r["name"], r["mode"], r["padded"]), r["not_timed"]), []).append(
                    "{}x{}".format(*r["row"])
                )
        return [f"{title}, not timed at {', '.join(rows)}: {reason}" for (title, reason), rows in reasons.items()]

    def _errors(self) -> list[str]:
        errors = [r["relative_error"] for r in self.results if "milliseconds" in r and not is_quantized(r)]
        quantized = [r["relative_error"] for r in self.results if "milliseconds" in r and is_quantized(r)]
        apart = [r["farthest"] for r in self.results if "farthest" in r]
        lines = []
        if errors:
            lines.append(
                f"outputs against a float64 encoder, relative 2-norm, before timing: {min(errors):.1e} to {max(errors):.1e}"
            )
        if quantized:
            lines.append(f"the same of 8-bit layers: {min(quantized):.1e} to {max(quantized):.1e}")
        if apart:
            lines.append(f"outputs against each other: at most {max(apart):.1e} apart")
        return lines


def _title(name: str, mode: str, padded: bool) -> str:
    return f"{name}, {mode}" + (" (padded)" if padded else "")


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ratio(ours: Result | None, peer: Result | None) -> str:
    return "-" if ours is None or peer is None else f"{ours['milliseconds'] / peer['milliseconds']:.2f}"
