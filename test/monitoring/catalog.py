"""What doc/ has for Prometheus and Grafana: the exporter's queries and the dashboard's expressions."""

import json
import re
from pathlib import Path

import yaml

DIRECTORY = Path(__file__).resolve().parent.parent.parent / "doc"
QUERIES = DIRECTORY / "exporter.yaml"
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


def expressions():
    """All that the dashboard asks Prometheus, its variables included."""
    dashboard = json.loads((DIRECTORY / "grafana.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def dashboard_metrics():
    return {name for expression in expressions() for name in re.findall(r"\bpictrepo_\w+", expression)}
