"""Charts as SVG: lines and bars over axes with units, for light and dark pages alike."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from html import escape
from math import ceil, floor, log10

FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'
STYLE = """\
.page { fill: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d1d9e0 }
.axis { stroke: #818b98 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } .text { fill: #e6edf3 } .faint { fill: #9198a1 } .grid { stroke: #2a313c }
.axis { stroke: #656c76 } }"""

LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 46
LEGEND = 220
HEAD = 70  # title, and what it is about


def shown(value):
    """A number for an axis: 0.5, 20, 3k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


class Linear:
    """An axis from 0, or from a round number below `least`, to a round number."""

    def __init__(self, title, values, least=0, most=None):
        self.title = title
        top = most if most is not None else max(values)
        height = top - least or 1
        step = next(size for size in (digit * 10.0 ** floor(log10(height / 5)) for digit in (1, 2, 2.5, 5, 10))
                    if size * 6 >= height)
        self.least = least = step * floor(least / step)
        self.most = most if most is not None else max(step * ceil(top / step), least + step)
        self.ticks = [least + step * number for number in range(int((self.most - least) / step + 1.001))]

    def place(self, value):
        return (value - self.least) / (self.most - self.least)


class Log:
    """An axis of powers of ten; `ticks` where they are to be others."""

    def __init__(self, title, values, ticks=None):
        self.title = title
        if ticks:
            self.low, self.high, self.ticks = log10(min(ticks)), log10(max(ticks)), ticks
            return
        values = [value for value in values if value > 0]
        self.low, self.high = floor(log10(min(values))), ceil(log10(max(values)) - 1e-9)
        self.high = max(self.high, self.low + 1)
        self.ticks = [10.0 ** power for power in range(self.low, self.high + 1)]

    def place(self, value):
        return (log10(max(value, 10.0 ** self.low)) - self.low) / (self.high - self.low)


class Time:
    """An axis from one time to another, with ticks at round times of the clock; by UTC."""

    STEPS = [timedelta(seconds=seconds) for seconds in
             (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200)]
    STEPS += [timedelta(days=days) for days in (1, 2, 7, 14, 28, 91, 182, 364)]
    START = datetime(2001, 1, 1, tzinfo=timezone.utc)  # a Monday

    def __init__(self, title, first, last, most_ticks=7):
        self.title = title
        self.first, self.last = first, max(last, first + timedelta(seconds=1))
        step = next((step for step in self.STEPS if (self.last - first) / step <= most_ticks), self.STEPS[-1])
        tick = self.START + step * ceil((first - self.START) / step)
        self.ticks = []
        while tick <= self.last:
            self.ticks.append(tick)
            tick += step
        form = "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M" if step < timedelta(days=1) else "%b %-d"
        if step < timedelta(days=1) <= self.last - first:
            form = "%b %-d " + form
        if self.last - first > timedelta(days=330):
            form = "%b %Y"
        self.names = {tick: f"{tick:{form}}" for tick in self.ticks}

    def place(self, value):
        return (value - self.first) / (self.last - self.first)


@dataclass
class Line:
    name: str
    points: list
    color: str
    dashed: bool = False
    strong: bool = False
    dots: bool = True


@dataclass
class Chart:
    """One pair of axes and its lines, within a drawing."""
    lines: list
    x: object
    y: object
    title: str = ""
    names: dict = field(default_factory=dict)  # of ticks on the x axis

    def draw(self, left, top, width, height):
        self.left, self.top = left + LEFT, top + TOP
        self.width, self.height = width - LEFT - RIGHT, height - TOP - BOTTOM
        return "".join([*self.grid(), *self.titles(), *(self.line(line) for line in self.lines)])

    def at(self, x, y):
        return self.left + self.x.place(x) * self.width, self.top + (1 - self.y.place(y)) * self.height

    def grid(self):
        right, bottom = self.left + self.width, self.top + self.height
        for tick in self.y.ticks:
            y = self.top + (1 - self.y.place(tick)) * self.height
            yield f'<line class="grid" x1="{self.left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield text(self.left - 8, y + 4, shown(tick), "faint", 12, "end")
        for tick in self.x.ticks:
            x = self.left + self.x.place(tick) * self.width
            yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
            name = self.names[tick] if tick in self.names else shown(tick)
            yield text(x, bottom + 18, name, "faint", 12, "middle")
        yield f'<line class="axis" x1="{self.left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'

    def titles(self):
        yield text(self.left + self.width / 2, self.top + self.height + 38, self.x.title,
                   "faint", 12, "middle")
        yield text(self.left - LEFT + 14, self.top - 10, self.y.title, "faint", 12)
        if self.title:
            yield text(self.left - LEFT + 14, self.top - 30, self.title, "text", 14, weight=600)

    def line(self, line):
        points = [self.at(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{line.color}"/>'
                       for x, y in points) if line.dots else ""
        return (f'<polyline points="{path}" fill="none" stroke-linejoin="round" {stroke(line)}/>{dots}')


@dataclass
class Bars(Chart):
    """Bars in place of lines, each on top of those of the lines before; `wide` on the x axis."""
    wide: object = 1

    def draw(self, left, top, width, height):
        self.below = {}
        return super().draw(left, top, width, height)

    def line(self, line):
        return "".join(self.bar(line, x, value) for x, value in line.points if value)

    def bar(self, line, x, value):
        least = self.below.get(x, 0)
        self.below[x] = least + value
        begin, bottom = self.at(x, least)
        end, top = self.at(x + self.wide, least + value)
        gap = min(2, (end - begin) * 0.15)
        return (f'<rect x="{begin + gap / 2:.1f}" y="{top:.1f}" width="{max(end - begin - gap, 0.5):.1f}"'
                f' height="{max(bottom - top, 0.5):.1f}" fill="{line.color}"/>')


def stroke(line):
    dash = ' stroke-dasharray="6 4"' if line.dashed else ""
    return f'stroke="{line.color}" stroke-width="{3 if line.strong else 2}"{dash}'


def text(x, y, what, kind, size, anchor="start", weight=400):
    return (f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f' font-weight="{weight}">{escape(what)}</text>')


def legend(lines, left, top):
    parts = []
    for number, line in enumerate(lines):
        y = top + 24 * number
        parts.append(f'<line x1="{left}" x2="{left + 24}" y1="{y}" y2="{y}" {stroke(line)}/>')
        parts.append(text(left + 32, y + 4, line.name, "text", 13, weight=600 if line.strong else 400))
    return "".join(parts)


def drawing(title, about, charts, columns=1, width=900, height=400):
    """The charts side by side, and what their lines mean, in one legend."""
    rows, used = -(-len(charts) // columns), len(charts) % columns
    each = (width - LEGEND) / columns if columns == 1 else (width - 10) / columns
    above = HEAD + (20 if any(chart.title for chart in charts) else 0)
    parts = [text(24, 32, title, "text", 18, weight=600), text(24, 52, about, "faint", 13)]
    for number, chart in enumerate(charts):
        row, column = divmod(number, columns)
        parts.append(chart.draw(column * each + 10, above + row * (height + 20), each, height))
    named = {line.name: line for chart in charts for line in chart.lines}
    # Beside the one chart, in the place of a last one that is not there, or below.
    total = above + rows * (height + 20)
    if columns == 1:
        parts.append(legend(named.values(), width - LEGEND + 10, above + TOP + 10))
    elif used:
        parts.append(legend(named.values(), used * each + 40, total - height + 10))
    else:
        parts.append(legend(named.values(), 24, total + 10))
        total += 24 * len(named) + 10
    size = f'width="{width}" height="{total}"'
    return "\n".join([opening(title, width, total), f"<style>\n{STYLE}\n</style>",
                      f'<rect class="page" {size} rx="6"/>', *parts, "</svg>\n"])


def opening(title, width, height):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' {FONT} role="img" aria-label="{escape(title)}">')


def inline(title, chart, width, height):
    """One chart for an HTML page that has STYLE and says itself what the lines mean."""
    return "\n".join([opening(title, width, height), chart.draw(-12, 0, width + 12, height), "</svg>"])
