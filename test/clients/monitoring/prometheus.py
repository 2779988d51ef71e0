"""Debian's Prometheus, which scrapes the exporter, and what it answers."""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs: [{{job_name: pictrepo, static_configs: [{{targets: ["{target}"]}}]}}]
"""


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


class Prometheus:
    def __init__(self, target, log):
        self.directory = tempfile.TemporaryDirectory(prefix="pictrepo.")
        self.address = free_address()
        configuration = Path(self.directory.name) / "prometheus.yml"
        configuration.write_text(CONFIGURATION.format(target=target))
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={self.directory.name}/data",
             f"--web.listen-address={self.address}", "--log.level=warn"], stdout=log, stderr=log)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.directory.cleanup()

    def get(self, path, **arguments):
        """What it answers; an error is a text."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?" + urllib.parse.urlencode(arguments),
                                        timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def query(self, expression, ahead=0):
        """The series that an expression gives, now or so many seconds ahead: [(labels, figure)], or an error."""
        answer = self.get("query", query=expression, time=f"{time.time() + ahead:.3f}")
        if isinstance(answer, str):
            return answer
        return [(series["metric"], float(series["value"][1])) for series in answer["result"]]

    def wait_for(self, expression):
        """Until it gives something."""
        for _ in range(600):
            try:
                series = self.query(expression)
                # While it starts it has an error for an answer.
                if isinstance(series, list) and series:
                    return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit("Prometheus ended, see build/prometheus.log.")
            time.sleep(0.1)
        sys.exit(f"Prometheus never saw this: {expression}")
