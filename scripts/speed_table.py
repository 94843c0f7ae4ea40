#!/usr/bin/env python3
"""The speed table from what scripts/speed_table.sh left in a folder: python3 scripts/speed_table.py FOLDER

Markdown on standard output. Every figure has what it must reach and what it aims at beside it, and says in words
whether it did; a figure that was taken in two regimes did when both of them did. Nothing but the standard library.
"""
import json
import math
import pathlib
import statistics
import sys

LENGTHS = (2048, 4096, 8192, 16384, 32768)
REGIMES = ("cool", "busy")


class Absent(Exception):
    """Why a figure is not there, in one line."""


class Figure:
    """One measured value, and how the card ran meanwhile."""

    def __init__(self, value, spread=None, mhz=None, watts=None, held_back=None, energy=None):
        self.value, self.spread = value, spread
        self.mhz, self.watts, self.held_back = mhz, watts, held_back
        self.energy = energy  # of the peer over ours


def clock_text(figure):
    if figure.mhz is None:
        return "unknown"
    text = f"{figure.mhz:.0f} MHz"
    if figure.watts is not None:
        text += f", {figure.watts:.0f} W"
    if figure.held_back:
        text += f", held back {100 * figure.held_back:.0f} %"
    return text


class Folder:
    """Files are read once; a file that is missing or damaged is absent for whoever asks."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.read = {}

    def json(self, name):
        if name not in self.read:
            try:
                self.read[name] = json.loads((self.path / name).read_text())
            except (OSError, ValueError):
                raise Absent(f"no {name}") from None
        return self.read[name]

    def kernel(self, name, row):
        for entry in self.json(name + ".json")["benchmarks"]:
            if entry["name"].split("/iterations:")[0] != row:
                continue
            if entry.get("error_occurred"):
                raise Absent(entry.get("error_message", "failed"))
            return entry
        raise Absent(f"{name}.json has no {row}")

    def record(self, name):
        return self.json(name + "/run.json")

    def lines(self, name, method, stage, context=None, batch=None):
        """What was measured of one cell, repeat by repeat."""
        try:
            text = (self.path / name / "items.jsonl").read_text()
        except OSError:
            raise Absent(f"no {name}/items.jsonl") from None
        rows, why = [], "not measured"
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # the last line of a killed run
                continue
            if not method(row["method"]) or row["stage"] != stage:
                continue
            if context not in (None, row["context"]) or batch not in (None, row["batch"]):
                continue
            if "seconds" in row:
                rows.append(row)
            else:
                why = row.get("error") or ("too large" if "needed_bytes" in row else "left out for its time")
        if not rows:
            raise Absent(f"{name}: {why}")
        return rows


def is_full(method):
    return method == "full"


def is_peer(method):
    return method.startswith("full (")


def is_landmark(method):
    return method.startswith("landmark")


def is_eden(method):
    return method.startswith("full+eden")


def median(rows, value=lambda row: row["seconds"]):
    return statistics.median(value(row) for row in rows)


def figure_of(value, rows, spread=None):
    def mean(key):
        told = [row[key] for row in rows if key in row]
        return statistics.fmean(told) if told else None
    return Figure(value, spread, mean("sm_mhz"), mean("power_watts"), mean("held_back"))


def kernel_figure(entry, counter):
    if counter not in entry:
        raise Absent(entry.get("label") or f"no {counter}")
    spread = (entry[counter + "_p10"], entry[counter + "_p90"]) if counter + "_p10" in entry else None
    held_back = entry["%held_back"] / 100 if "%held_back" in entry else None
    return Figure(entry[counter], spread, entry.get("sm_MHz"), entry.get("W"), held_back,
                  entry.get(counter + "_energy"))


def kernel(folder, name, row, counter):
    """One figure a regime; a regime that is missing is told as such."""
    figures = {}
    for regime in REGIMES:
        try:
            figures[regime] = kernel_figure(folder.kernel(name, f"{row}/warm/{regime}"), counter)
        except Absent as absent:
            figures[regime] = absent
    return figures


def busy(work):
    """Whole passes are as busy as they are: one figure."""
    try:
        return {"busy": work()}
    except Absent as absent:
        return {"busy": absent}


def prefill_ratio(folder, context):
    ours = folder.lines("prefill", is_landmark, "prefill", context, 1)
    peer = folder.lines("prefill", is_peer, "prefill", context, 1)
    pairs = zip(sorted(ours, key=lambda row: row["repeat"]), sorted(peer, key=lambda row: row["repeat"]))
    ratios = [a["seconds"] / b["seconds"] for a, b in pairs]
    return figure_of(median(ours) / median(peer), ours + peer, (min(ratios), max(ratios)))


def phase_share(folder, name, stage, phase):
    rows = folder.lines(name, is_landmark, stage, 8192, 1)
    shares = [row["phases"][phase]["seconds"] / row["seconds"] for row in rows if phase in row.get("phases", {})]
    if not shares:
        raise Absent(f"{name}: no phase {phase}")
    return figure_of(statistics.median(shares), rows, (min(shares), max(shares)))


def removed_share(folder, name, stage):
    """What the bank costs by leaving it out: this also counts what it takes from work beside it."""
    rows = folder.lines(name, is_landmark, stage, 8192, 1)
    shares = [1 - row["without_bank_seconds"] / row["seconds"] for row in rows if "without_bank_seconds" in row]
    if not shares:
        raise Absent(f"{name}: nothing without the bank")
    return figure_of(statistics.median(shares), rows, (min(shares), max(shares)))


def weights_share(folder):
    rows = folder.lines("decode", is_landmark, "decode", 8192, 1)
    run = folder.record("decode")
    floor = run["weights"]["step_bytes"] / run["ceilings"]["copy_bytes_per_second"]
    seconds = [row["seconds"] for row in rows]
    return figure_of(floor / median(rows), rows, (floor / max(seconds), floor / min(seconds)))


def rate(row):
    return row["batch"] / row["seconds"]


def throughput(folder):
    rows = folder.lines("batch-256", is_landmark, "capacity", 8192, 256)
    return figure_of(median(rows, rate), rows, (min(map(rate, rows)), max(map(rate, rows))))


def throughput_ratio(folder):
    ours = folder.lines("batch-256", is_landmark, "capacity", 8192, 256)
    full = folder.lines("batch-256", is_full, "capacity", 8192)
    return figure_of(median(ours, rate) / median(full, rate), ours + full)


def eden_ratio(folder):
    plain = folder.lines("eden", is_full, "decode", 32768, 16)
    coded = folder.lines("eden", is_eden, "decode", 32768, 16)
    return figure_of(median(plain) / median(coded), plain + coded)


def times(value):
    return f"{value:.2f}x"


def tflops(value):
    return f"{value:.0f} TFLOP/s"


def share(value):
    return f"{100 * value:.1f} %"


def tokens(value):
    return f"{value / 1000:.1f}k tokens/s"


def ratio(value):
    return f"{value:.2f}"


def rows_of(folder):
    """(name, must, aim, printer, figures by regime); smaller is better where the aim is below what is a must."""
    dense = "dense prefill attention against cuDNN"
    for n in LENGTHS:
        yield (f"differential {dense} 64/8 and combine, {n}", 1.10, 1.25, times,
               kernel(folder, "dense-differential", f"prefill_dense/hd:128/streams:2/N:{n}", "vs_peer"))
    for n in LENGTHS:
        yield (f"plain {dense} 32/8, {n}", 1.0, 1.1, times,
               kernel(folder, "dense-plain", f"prefill_dense/hd:128/streams:1/N:{n}", "vs_peer"))
    for streams, kind in ((2, "differential"), (1, "plain")):
        for n in LENGTHS:
            yield (f"head_dim 64, {kind}, {n}", 1.0, 1.15, times,
                   kernel(folder, "dense-64", f"prefill_dense/hd:64/streams:{streams}/N:{n}", "vs_peer"))
    yield ("block-plan attention, blocks of 256 over 640 keys, 8k", 350, 500, tflops,
           kernel(folder, "blocks", "prefill_blocks/hd:128/streams:2/N:8192", "TFLOP/s"))
    for block in (64, 16):
        yield (f"block-plan attention as landmark lays it out, blocks of {block}, 8k", None, None, tflops,
               kernel(folder, "blocks", f"prefill_blocks/hd:128/streams:2/block:{block}/N:8192", "TFLOP/s"))
    for context, must, aim in ((8192, 0.95, 0.87), (32768, 0.65, 0.5), (131072, 0.35, 0.22)):
        yield (f"landmark prefill time against full cache with cuDNN attention, {context // 1024}k", must, aim, ratio,
               busy(lambda: prefill_ratio(folder, context)))
    yield ("landmark scan, share of landmark prefill, 8k", 0.08, 0.03, share,
           busy(lambda: phase_share(folder, "prefill", "prefill", "bank")))
    yield ("the same by leaving it out", None, None, share, busy(lambda: removed_share(folder, "prefill", "prefill")))
    yield ("decode batch 1, landmark, of weight bytes over bandwidth", 0.82, 0.90, share,
           busy(lambda: weights_share(folder)))
    yield ("bank step, share of a decode step", 0.02, 0.005, share,
           busy(lambda: phase_share(folder, "decode", "decode", "bank")))
    yield ("bank step by leaving it out", None, None, share, busy(lambda: removed_share(folder, "decode", "decode")))
    yield ("decode batch 256, landmark, 8k", 30e3, 42e3, tokens, busy(lambda: throughput(folder)))
    yield ("the same against full cache at its largest batch", 7, 11, times, busy(lambda: throughput_ratio(folder)))
    yield ("eden-4 decode against bf16, full cache 32k, batch 16", 1.2, 1.8, times, busy(lambda: eden_ratio(folder)))


def verdict(figures, must, aim):
    found = list(figures.values())
    if any(isinstance(figure, Absent) for figure in found):
        return "**not measured**"
    if must is None:
        return "no limit set"
    better = (lambda value, limit: value <= limit) if aim < must else (lambda value, limit: value >= limit)
    if not all(better(figure.value, must) for figure in found):
        return "**missed**"
    return "aim reached" if all(better(figure.value, aim) for figure in found) else "reached"


def value_text(figure, printer):
    if isinstance(figure, Absent):
        return str(figure)
    text = printer(figure.value)
    if figure.spread and not math.isclose(*figure.spread, rel_tol=1e-3):
        text += " [" + ", ".join(printer(end) for end in figure.spread) + "]"
    return text


def energy(figures):
    told = [figure.energy for figure in figures.values() if getattr(figure, "energy", None) is not None]
    return times(told[0]) if told else "-"


def row_text(name, must, aim, printer, figures):
    def limit(value):
        return printer(value) if value is not None else "-"

    def regime(name, text):
        return text(figures[name]) if name in figures else "-"

    def ran(figure):
        return "-" if isinstance(figure, Absent) else clock_text(figure)

    cells = [name, limit(must), limit(aim), *(regime(r, lambda f: value_text(f, printer)) for r in REGIMES),
             *(regime(r, ran) for r in REGIMES), energy(figures), verdict(figures, must, aim)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def cards(folder):
    """What measured the rows: more than one line when parts of the folder come from different machines or builds."""
    found = []
    for name in ("dense-differential", "dense-plain", "dense-64", "blocks"):
        try:
            context = folder.json(name + ".json")["context"]
        except Absent:
            continue
        found.append((context.get("gpu"), context.get("driver"), context.get("power_limit_W"),
                      context.get("commit", "unknown")[:12], "cuDNN " + context.get("cudnn", "unknown")))
    for name in ("prefill", "decode", "batch-256", "eden"):
        try:
            run = folder.record(name)
        except Absent:
            continue
        device = run["device"]
        found.append((device["name"], device.get("driver"), device.get("power_limit_watts"),
                      run["provenance"].get("git_commit", "unknown")[:12], None))
    lines = {}
    for gpu, driver, limit, commit, peer in found:
        watts = f"{float(limit):.0f} W" if limit not in (None, "unknown") else "an unknown limit"
        lines.setdefault(f"{gpu}, driver {driver}, power limit {watts}, commit {commit}", set()).add(peer)
    return [line + "".join(", " + peer for peer in sorted(filter(None, peers))) for line, peers in lines.items()]


def table(folder):
    rows = list(rows_of(folder))
    lines = ["\n".join(cards(folder)) or "nothing measured", ""]
    lines.append("| row | must | aim | cool | busy | ran cool at | ran busy at | peer's energy over ours | |")
    lines.append("|---|---|---|---|---|---|---|---|---|")
    lines += [row_text(*row) for row in rows]
    verdicts = [verdict(figures, must, aim) for _, must, aim, _, figures in rows if must is not None]
    missed, absent = verdicts.count("**missed**"), verdicts.count("**not measured**")
    lines += ["", f"{len(verdicts)} rows: {len(verdicts) - missed - absent} reached, {missed} missed, "
                  f"{absent} not measured. Brackets: the middle 80 % of the rounds of a kernel, all repeats of a pass."]
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/speed_table.py FOLDER")
    sys.stdout.write(table(Folder(sys.argv[1])))


if __name__ == "__main__":
    main()
