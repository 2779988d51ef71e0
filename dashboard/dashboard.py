#!/usr/bin/python3
"""A page about the pictrepo in a database: dashboard.py FILE.html

It asks the database that PGHOST and its like name, changes nothing there, and
shows what the role may see.
"""

import sys
from collections import defaultdict
from datetime import date, datetime, time, timedelta, timezone
from html import escape
from pathlib import Path

import psycopg

sys.dont_write_bytecode = True
import queries  # noqa: E402
import svg  # noqa: E402

# Told apart by all, on white and on black.
COLORS = ("#2f81f7", "#e8590c", "#2da44e", "#a371f7", "#d4a72c", "#db61a2", "#1b9e9e")
REST = "#8b949e"
FLOW_COLORS = {"pushed": "#2f81f7", "completed": "#2da44e", "failed": "#e8590c", "reaped": "#db61a2",
               "waited": "#2f81f7", "ran": "#2da44e"}
UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
DEAD_SHOWN = 50
TEXT_SHOWN = 300
WIDTH, HEIGHT = 560, 280

STYLE = """
:root { color-scheme: light dark; --back: #f6f8fa; --card: #fff; --line: #d1d9e0; --text: #1f2328; --dim: #59636e;
  --good: #1a7f37; --bad: #b3541e; }
@media (prefers-color-scheme: dark) { :root { --back: #010409; --card: #0d1117; --line: #2a313c; --text: #e6edf3;
  --dim: #9198a1; --good: #3fb950; --bad: #f0883e; } }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; background: var(--back);
  color: var(--text); max-width: 78rem; margin: 0 auto; padding: 1.75rem 1.25rem 3rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1rem; margin: 0 0 .1rem; }
p { margin: 0 0 .7rem; }
.dim, header p { color: var(--dim); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; margin: 1.25rem 0 .8rem; }
.tiles div, section { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; }
.tiles div { padding: .65rem .85rem; color: var(--dim); }
.tiles b { display: block; white-space: nowrap; font-size: 1.3rem; line-height: 1.3; color: var(--text); font-weight: 600;
  font-variant-numeric: tabular-nums; }
.bad, .tiles .bad { color: var(--bad); }
.good, .tiles .good { color: var(--good); }
main { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .8rem; }
section { padding: 1rem 1.1rem; min-width: 0; }
.wide { grid-column: 1 / -1; }
@media (max-width: 56rem) { main { grid-template-columns: minmax(0, 1fr); } body { padding: 1.1rem .8rem 2rem; } }
svg { display: block; width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; font-size: .85rem; margin-top: .3rem; }
.legend span { overflow-wrap: anywhere; }
.legend i { display: inline-block; width: .75rem; height: .75rem; border-radius: .2rem; margin-right: .4rem;
  vertical-align: -.05rem; }
.shares { display: flex; gap: 2px; height: .8rem; margin-top: 1rem; border-radius: .3rem; overflow: hidden; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--dim); font-weight: 500; white-space: nowrap; }
th, td { padding: .28rem .9rem .28rem 0; border-top: 1px solid var(--line); vertical-align: top; }
tr:first-child > * { border-top: 0; }
td { white-space: nowrap; }
td.number, th.number { text-align: right; }
td.bad { white-space: normal; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
code { font: .95em ui-monospace, SFMono-Regular, Menlo, monospace; }
"""


# ----- how things are written -----

def count(value):
    return f"{value:,}"


def size(value):
    value = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.3g} {unit}" if unit != "B" else f"{value:.0f} B"
        value /= 1000


def span(value):
    """How long: 12 ms, 4.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    seconds = value.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    parts = []
    for name, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length and len(parts) < 2:
            parts.append(f"{int(seconds // length)} {name}")
            seconds %= length
    return " ".join(parts)


def moment(value):
    return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


def cut(text):
    return text if len(text) <= TEXT_SHOWN else text[:TEXT_SHOWN] + "…"


def or_dash(form):
    return lambda value: "–" if value is None else form(value)


# ----- what a page is made of; only here text becomes HTML -----

def section(title, about, content, wide=False):
    return (f'<section{" class=wide" if wide else ""}><h2>{escape(title)}</h2><p class="dim">{escape(about)}</p>'
            f"{content}</section>")


def nothing(text):
    return f'<p class="dim">{escape(text)}</p>'


def tile(value, what, kind=""):
    return f'<div><b class="{kind}">{escape(value)}</b>{escape(what)}</div>'


def table(columns, rows):
    """Columns are a title, a kind (number, text, code, bad or none) and how a value is written."""
    head = "".join(f'<th class="{kind}">{escape(title)}</th>' for title, kind, _ in columns)
    head = f"<tr>{head}</tr>" if any(title for title, _, _ in columns) else ""
    body = "".join("<tr>" + "".join(cell(kind, form(value)) for (_, kind, form), value in zip(columns, row)) + "</tr>"
                   for row in rows)
    return f'<div class="scroll"><table>{head}{body}</table></div>'


def cell(kind, text):
    text = escape(text)
    return f'<td class="text"><code>{text}</code></td>' if kind == "code" else f'<td class="{kind}">{text}</td>'


def legend(lines):
    """One without a name is what the title says."""
    return '<div class="legend">' + "".join(
        f'<span><i style="background:{line.color}"></i>{escape(line.name)}</span>' for line in lines if line.name) + "</div>"


def figure(title, chart):
    return svg.inline(title, chart, WIDTH, HEIGHT) + legend(chart.lines)


# ----- the parts -----

def most(series):
    """At least 1, so that an axis has a length."""
    return [1, *(value for points in series for _, value in points)]


def line(name, points, color):
    """One point makes no line."""
    return svg.Line(name, points, color, dots=len(points) == 1)


def fullest(series):
    return sorted(series, key=lambda name: -max(value for _, value in series[name]))


def colored(series, order, together=sum):
    """The first have a colour of their own, and the rest is one line."""
    lines = [line(name, series[name], color) for name, color in zip(order, COLORS)]
    rest = defaultdict(list)
    for name in order[len(COLORS):]:
        for at, value in series[name]:
            rest[at].append(value)
    if rest:
        points = [(at, together(values)) for at, values in sorted(rest.items())]
        lines.append(line(f"{len(order) - len(COLORS)} more", points, REST))
    return lines


def sampled(repo):
    """What was in the queues and went through them, and what was stored, over time."""
    samples = repo.samples()
    if samples is None:
        hint = nothing("Nothing was sampled. Set pictrepo.sample_interval = '10s' and reload the server.")
        return [section("Over time", "jobs, how long they took, pictures", hint, wide=True)], []
    x = svg.Time("UTC", samples.first, samples.last)
    order = fullest(samples.depth)
    ages, age_unit = in_unit(samples.age)
    averages, average_unit = in_unit(samples.averages)
    return [over_time("Queue depth", "jobs that are ready or run", x, "jobs", colored(samples.depth, order)),
            over_time("Throughput", "jobs of all queues", x, "per second", named(samples.rates)),
            over_time("Oldest ready job", "how long it had been due", x, age_unit, colored(ages, order, max)),
            over_time("Latency", "on average: due until a worker had the job, and from there to its end", x,
                      average_unit, named(averages))], [
            over_time("Pictures over time", "all that were stored", x, "pictures", [line("", samples.images, COLORS[0])],
                      min((images for _, images in samples.images), default=0)),
            over_time("Uploads under way", "begun, and not claimed yet", x, "uploads",
                      [line("", samples.uploads, COLORS[3])])]


def over_time(title, about, x, unit, lines, least=0):
    if not any(line.points for line in lines):
        return section(title, about, nothing("Nothing was counted. That takes shared_preload_libraries = 'pictrepo'."))
    y = svg.Linear(unit, most(line.points for line in lines), least)
    return section(title, about, figure(title, svg.Chart(lines, x, y, names=x.names)))


def named(series):
    return [line(name, points, FLOW_COLORS[name]) for name, points in series.items()]


def in_unit(series):
    """Seconds, or what else reads well where there are many; and what that is called."""
    longest = max(most(series.values()))
    unit, length = next((told for told in UNITS if longest >= 3 * told[1]), UNITS[-1])
    return {name: [(at, value / length) for at, value in points] for name, points in series.items()}, unit


def stored(usage):
    if usage is None:
        return [section("Pictures", "", nothing("This role may not see them."))]
    if not usage:
        return [section("Pictures by day", "when they were stored", nothing("There are none.")),
                section("Pictures by format", "bytes without variants", nothing("There are none."))]
    days = by_day(usage)
    colors = {line.name: line.color for line in days.lines}
    return [section("Pictures by day", "when they were stored", figure("Pictures by day", days)),
            section("Pictures by format", "bytes without variants", by_format(usage, colors))]


def by_day(usage):
    """Bars of a day, or of as many days as make a bar that can be seen."""
    days = [day for _, day, _, _ in usage]
    first, last = days[0], max(days[-1], days[0] + timedelta(days=13))
    width = -(-((last - first).days + 1) // 90)
    series = defaultdict(lambda: defaultdict(int))
    for name, day, images, _ in usage:
        series[name][day - (day - first) % timedelta(days=width)] += images
    sums = defaultdict(int)
    for points in series.values():
        for day, images in points.items():
            sums[day] += images
    bars = {name: [(midnight(day), images) for day, images in points.items()] for name, points in series.items()}
    lines = colored(bars, fullest(bars))
    x = svg.Time("UTC", midnight(first), midnight(last + timedelta(days=width)))
    return svg.Bars(lines, x, svg.Linear("pictures", [1, *sums.values()]), names=x.names, wide=timedelta(days=width))


def midnight(day):
    return datetime.combine(date(day.year, day.month, day.day), time(), timezone.utc)


def by_format(usage, colors):
    totals = defaultdict(lambda: [0, 0])
    for name, _, images, stored_bytes in usage:
        totals[name][0] += images
        totals[name][1] += stored_bytes
    all_images, all_bytes = (sum(total[n] for total in totals.values()) for n in (0, 1))
    rows = sorted(((name, images, bytes_, bytes_ / images) for name, (images, bytes_) in totals.items()),
                  key=lambda row: -row[2])
    if len(rows) > 1:
        rows.append(("all", all_images, all_bytes, all_bytes / all_images))
    parts = [(colors.get(row[0], REST), row[2]) for row in rows if row[0] in totals]
    return table([("format", "", str), ("pictures", "number", count), ("bytes", "number", size),
                  ("each", "number", size)], rows) + shares(parts)


def shares(parts):
    """A bar of what each has of the whole."""
    whole = max(sum(value for _, value in parts), 1)
    return '<div class="shares">' + "".join(f'<i style="width:{float(100 * value / whole):.2f}%;background:{color}"></i>'
                                            for color, value in parts) + "</div>"


def queues_section(queues):
    if not queues:
        return section("Queues", "now", nothing("There are none." if queues == [] else "This role may not see them."),
                       wide=True)
    number = or_dash(count)
    return section("Queues", "now", table(
        [("queue", "text", str), ("ready", "number", number), ("scheduled", "number", number),
         ("running", "number", number), ("dead", "number", number), ("oldest ready", "number", or_dash(span)),
         ("wait, average", "number", or_dash(span)), ("run, average", "number", or_dash(span)),
         ("waiting sessions", "number", number), ("", "bad", lambda paused: "paused" if paused else "")],
        queues), wide=True)


def dead_section(dead):
    if not dead:
        return section("Dead jobs", "none, and that is good" if dead == [] else "",
                       "" if dead == [] else nothing("This role may not see them."), wide=True)
    return section("Dead jobs", f"the last ones, {DEAD_SHOWN} at most; requeue_dead(id) tries one again", table(
        [("queue", "text", str), ("died", "", moment), ("runs", "number", count),
         ("job", "code", cut), ("error", "text", or_dash(cut))], dead), wide=True)


def maintenance_section(duties):
    if not duties:
        return section("Maintenance", "", nothing("Nothing is known of it without shared_preload_libraries."), wide=True)
    return section("Maintenance", "what the background worker did, since the server started", table(
        [("duty", "", str), ("every", "number", or_dash(span)), ("last run", "", or_dash(moment)),
         ("took", "number", or_dash(span)), ("rows", "number", or_dash(count)), ("runs", "number", or_dash(count)),
         ("errors", "number", or_dash(count)), ("last error", "text", or_dash(cut))], duties), wide=True)


def status_section(status):
    if status is None:
        return section("Status", "", nothing("This role may not see it."), wide=True)
    return section("Status", "as pictrepo.status() says", table(
        [("", "", str), ("", "text", or_dash(str)), ("", "bad", lambda advice: advice or "")], status), wide=True)


def tiles(status, queues, usage, duties):
    told = {item: value for item, value, _ in status or ()}
    queues, usage = queues or (), usage or ()
    ages = [row[5] for row in queues if row[5] is not None]
    dead = sum(row[4] for row in queues)
    runs = [row[2] for row in duties or () if row[2] is not None]
    errors = [row[0] for row in duties or () if row[7] is not None]
    return "".join((
        tile(count(sum(row[2] for row in usage)), "pictures"),
        tile(size(sum(row[3] for row in usage)), "of content"),
        tile(count(sum(row[1] for row in queues)), "jobs ready"),
        tile(count(sum(row[3] for row in queues)), "jobs running"),
        tile(span(max(ages)) if ages else "–", "oldest ready job",
             "bad" if ages and max(ages) > timedelta(minutes=5) else ""),
        tile(count(dead), "dead jobs", "bad" if dead else ""),
        tile("error" if errors else f"{max(runs):%H:%M:%S}" if runs else told.get("worker", "–"), "last upkeep, UTC",
             "bad" if errors else "good" if runs else "")))


def page(repo, name):
    status, usage = repo.ask(queries.STATUS), repo.ask(queries.USAGE)
    queues, duties = repo.ask(queries.QUEUES), repo.ask(queries.MAINTENANCE)
    dead = repo.ask(queries.DEAD, (DEAD_SHOWN,))
    jobs, pictures = sampled(repo)
    parts = [*jobs, queues_section(queues), dead_section(dead), *stored(usage), *pictures,
             maintenance_section(duties), status_section(status)]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>pictrepo: {escape(name)}</title><style>{STYLE}\n{svg.STYLE}</style></head>\n<body><header>"
            f"<h1>pictrepo: {escape(name)}</h1><p>as it was on {moment(datetime.now(timezone.utc))} UTC</p></header>\n"
            f'<div class="tiles">{tiles(status, queues, usage, duties)}</div>\n<main>\n'
            + "\n".join(parts) + "\n</main></body></html>\n")


def main(path):
    with psycopg.connect() as connection:
        connection.execute("SET client_min_messages = warning")
        html = page(queries.Repo(connection), connection.info.dbname)
    Path(path).write_text(html, encoding="utf-8")


main(sys.argv[1])
