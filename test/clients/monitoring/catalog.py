"""What users get for Prometheus and Grafana: the exporter's queries, the dashboard's and the alerts' expressions."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
QUERIES = ROOT / "dashboard/exporter.yaml"
DASHBOARD = ROOT / "dashboard/grafana.json"
GUIDE = ROOT / "doc/administration.md"
# As the head of that file says.
RIGHTS = """
CREATE ROLE pictrepo_monitor LOGIN;
GRANT pg_monitor TO pictrepo_monitor;
SELECT pictrepo.grant_access('pictrepo_monitor', 'reader');
GRANT SELECT (queue, status, priority, run_at) ON pictrepo.job_queue TO pictrepo_monitor;
"""


def queries():
    return yaml.safe_load(QUERIES.read_text())


def columns(query, *usages):
    """The columns that a query declares, of these usages or of all."""
    return [name for metric in query["metrics"] for name, told in metric.items()
            if not usages or told["usage"] in usages]


def declared_metrics():
    return {f"{name}_{column}" for name, query in queries().items()
            for column in columns(query, "GAUGE", "COUNTER")}


def dashboard():
    return json.loads(DASHBOARD.read_text())


def panels():
    """What the dashboard plots: the panel's title, the expression, the names of its lines."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]


def variables():
    """What the dashboard lets one choose from: label_values(METRIC, LABEL)."""
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()


def alerts():
    """The expressions of the guide's table that are worth an alert."""
    _, _, table = GUIDE.read_text().partition("\nThese expressions are worth an alert:\n\n")
    rows = table.partition("\n\n")[0].splitlines()[2:]
    return [re.match(r"\| `([^`]+)` \|", row)[1] for row in rows]


def asked_metrics():
    """All that is asked of Prometheus."""
    asked = [*(expression for _, expression, _ in panels()), *(metric for metric, _ in variables()), *alerts()]
    return {name for expression in asked for name in re.findall(r"\bpictrepo_\w+", expression)}
