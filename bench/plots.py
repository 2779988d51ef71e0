#!/usr/bin/python3
"""The plots of a report, from its raw numbers: plots.py DIRECTORY"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dashboard"))
from svg import Chart, Line, Linear, Log, drawing  # noqa: E402

# One colour for each contestant everywhere, that can be told apart by all, on white and on black.
COLORS = {
    "pictrepo": "#2f81f7", "pict-rs": "#e8590c", "bare tables": "#8b949e", "pgq": "#2da44e",
    "graphile-worker": "#a371f7", "pg-boss": "#d4a72c", "empty function": "#8b949e",
    "the same join by hand": "#db61a2", "NOTIFY to every worker": "#db61a2", "polling": "#8b949e",
}
RATE = "per second"
LATENCY_WORKERS = "32 idle workers"
# pgq is a queue of another kind, and a plot should not hide that.
LABELS = {"pgq": "pgq: events, one reader"}


class Raw:
    """raw.csv, and the numbers behind it."""

    def __init__(self, directory):
        self.directory = directory
        self.rows = self.read("raw.csv")

    def read(self, name):
        path = self.directory / name
        if not path.exists():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def over(self, workload, axis, measure=RATE, title=""):
        """For each contestant the median at each place on an axis; of one size unless that is the axis."""
        size = None if axis == "images" else str(self.main_size())
        places = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            if ((row["workload"], row["measure"]) == (workload, measure) and title in row["work"]
                    and row[axis] and size in (None, row["images"])):
                places[row["contestant"]][float(row[axis])].append(float(row["value"]))
        return {name: sorted((at, median(values)) for at, values in points.items())
                for name, points in places.items()}

    def main_size(self):
        """Where most was measured."""
        sizes = [int(row["images"]) for row in self.rows]
        return max(set(sizes), key=sizes.count)


def line(name, points, dots=True):
    base, _, variant = name.partition(",")
    return Line(LABELS.get(name, name), points, COLORS.get(base, "#57606a"),
                dashed=bool(variant), strong=name == "pictrepo", dots=dots)


def lines(series, dots=True):
    """The last to be drawn lies on top: pictrepo; the legend has it first."""
    return [line(name, points, dots) for name, points in
            sorted(series.items(), key=lambda item: (item[0] != "pictrepo", -item[1][-1][1]))]


def values(series, index):
    return [point[index] for points in series.values() for point in points]


def clients(raw):
    series = raw.over("cycle", "at")
    if len(set(values(series, 0))) < 2:
        return None
    ticks = sorted(set(values(series, 0)))
    return drawing("Job throughput over clients", "push, take and complete: jobs per second, more is better",
                   [Chart(lines(series), Log("clients at once", [], ticks),
                          Linear("jobs per second", values(series, 1)))])


def batches(raw):
    series = raw.over("batch", "at")
    if len(set(values(series, 0))) < 2:
        return None
    return drawing("Job throughput over the size of batches",
                   "one client, so many jobs at a time; more is better",
                   [Chart(lines(series), Log("jobs at a time", [], sorted(set(values(series, 0)))),
                          Log("jobs per second", values(series, 1)))])


def held(raw):
    series = defaultdict(list)
    for row in raw.read("held.csv"):
        if row["round"] == "1":
            series[row["contestant"]].append((float(row["second"]), float(row[RATE])))
    if not series:
        return None
    end = max(values(series, 0))
    return drawing("Job throughput beside an old snapshot",
                   "a backup or a long report holds a snapshot for the whole run; more is better",
                   [Chart(lines(series, dots=False), Linear("seconds", [end], most=end),
                          Linear("jobs per second", values(series, 1)))])


def latency(raw):
    times = defaultdict(list)
    for row in raw.read("latency.csv"):
        if LATENCY_WORKERS in row["work"]:
            times[row["contestant"]].append(float(row["ms from sending"]))
    if not times:
        return None
    series = {name: [(value, 100 * (number + 1) / len(sample)) for number, value in enumerate(sorted(sample))]
              for name, sample in times.items()}
    shown = sorted((line(name, points, dots=False) for name, points in series.items()),
                   key=lambda one: (one.name != "pictrepo", one.points[len(one.points) // 2][0]))
    return drawing("From sending a job to having it in hand",
                   f"{LATENCY_WORKERS}, one job every 20 ms; further left is better",
                   [Chart(shown, Log("milliseconds", values(series, 0)),
                          Linear("% of jobs in hand by then", [100], most=100))])


def milliseconds(series, at_once):
    return {name: [(at, 1000 * at_once / rate) for at, rate in points] for name, points in series.items()}


def pages(raw, at_once=8):
    series = milliseconds(raw.over("page", "at"), at_once)
    if len(set(values(series, 0))) < 2:
        return None
    places = sorted(set(values(series, 0)))
    x = Linear("place of the page", [1], most=1)
    x.ticks = [place for place in places if place == 0 or place > 0.01]
    return drawing(f"Time of a page over its depth, {raw.main_size():,} hashes",
                   f"20 hashes and where the page before begins, {at_once} clients; less is better",
                   [Chart(lines(series), x, Log("milliseconds", values(series, 1)),
                          names={0: "first", 0.5: "middle", 1: "last", 0.25: "", 0.75: ""})])


GROWING = (("serve", "", "serve an alias"), ("touch", "", "serve and note the access"),
           ("page", "last", "the last page"), ("outdated", "variants", "100 outdated variants"),
           ("count", "hashes", "count the hashes"))


def growth(raw, at_once=8):
    charts = []
    for workload, title, name in GROWING:
        series = milliseconds(raw.over(workload, "images", title=title), at_once)
        sizes = sorted(set(values(series, 0)))
        if len(sizes) > 1:
            charts.append(Chart(lines(series), Log("images", [], sizes),
                                Log("milliseconds", values(series, 1)), name))
    if not charts:
        return None
    return drawing("How it grows with the number of images",
                   f"time of a call, {at_once} clients; less is better",
                   charts, columns=3, height=250)


PLOTS = {
    "clients": ("Job throughput over clients", clients),
    "batches": ("Job throughput over the size of batches", batches),
    "held": ("Job throughput beside an old snapshot", held),
    "latency": ("From sending a job to having it in hand", latency),
    "pages": ("Time of a page over its depth", pages),
    "growth": ("How it grows with the number of images", growth),
}


def draw(directory):
    """All plots that there are numbers for: their file names and titles."""
    raw = Raw(directory)
    drawn = []
    for name, (title, plot) in PLOTS.items():
        svg = plot(raw) if raw.rows else None
        if svg:
            (directory / f"{name}.svg").write_text(svg, encoding="utf-8")
            drawn.append((f"{name}.svg", title))
    return drawn


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
