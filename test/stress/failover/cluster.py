"""The cluster that fails over: etcd, and three nodes of Patroni and PostgreSQL.

All of it is in one directory, listens on 127.0.0.1 and a Unix socket alone, at ports
that were free, and is gone when stop() was called.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import psycopg

from server import postmaster_of, signal_all

NODES = ["node1", "node2", "node3"]

# A leader that is gone is gone for `ttl`; Patroni wants 20 s at least.
TIMES = {"ttl": 20, "loop_wait": 2, "retry_timeout": 5}
PATIENCE = 90  # until there is a leader again, and until a node is back


class Trouble(Exception):
    """The cluster, not what is tested on it, does not work."""


def free_ports(count):
    """All at once, so that they differ."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def settings_of(file):
    """The lines NAME = 'VALUE' of a configuration file."""
    lines = [line.split("=", 1) for line in Path(file).read_text().splitlines()
             if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("'") for name, value in lines}


def wait_for(what, answer, patience=PATIENCE, pause=0.1):
    end = time.monotonic() + patience
    while not (found := answer()):
        if time.monotonic() > end:
            raise Trouble(f"{what}: not within {patience} s")
        time.sleep(pause)
    return found


class Daemon:
    """A program in a directory of its own, which tells it from what has its process id later."""

    def __init__(self, home, command):
        self.home = home
        self.command = command
        self.log = home / "log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, signal=signal.SIGKILL):
        if self.process is not None:
            self.process.send_signal(signal)

    def stop(self, patience=30):
        """Patroni stops its PostgreSQL when it is told to stop."""
        self.kill(signal.SIGTERM)
        try:
            if self.process is not None:
                self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()


class Node(Daemon):
    def __init__(self, cluster, name, port, rest_port):
        super().__init__(cluster.home / name, ["/usr/bin/patroni", "patroni.json"])
        self.cluster = cluster
        self.name = name
        self.port = port
        self.rest = f"127.0.0.1:{rest_port}"
        self.data = self.home / "data"
        self.server_log = self.home / "postgresql.log"
        self.home.mkdir()
        # YAML has JSON within it.
        (self.home / "patroni.json").write_text(json.dumps(self.settings(), indent=1))

    def settings(self):
        """What Patroni wants to know. Peers come by TCP, with a password."""
        cluster = self.cluster
        superuser = {"username": "postgres", "password": cluster.password}
        return {
            "scope": "pictrepo",
            "name": self.name,
            "restapi": {"listen": self.rest, "connect_address": self.rest},
            "etcd3": {"host": f"127.0.0.1:{cluster.etcd_port}"},
            "bootstrap": {
                "dcs": {
                    **TIMES,
                    "synchronous_mode": True,
                    "maximum_lag_on_failover": 0,
                    # The leader whose PostgreSQL dies is a leader no more.
                    "master_start_timeout": 0,
                    "primary_start_timeout": 0,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "use_slots": True,
                        "parameters": cluster.parameters},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "use_unix_socket": True,
                "use_unix_socket_repl": True,
                "bin_dir": cluster.bindir,
                "data_dir": str(self.data),
                "pgpass": str(self.home / "pgpass"),
                "authentication": {"superuser": superuser, "replication": superuser, "rewind": superuser},
                "parameters": {
                    "unix_socket_directories": cluster.socket,
                    "logging_collector": "off"},
                "pg_hba": [
                    "local all all trust", "local replication all trust",
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication all 127.0.0.1/32 scram-sha-256"],
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }

    def postmaster(self):
        return postmaster_of(self.data)

    def stand_still(self, seconds):
        """All that runs on the node, as on a machine that sleeps; when it went on."""
        postmaster = self.postmaster()
        if postmaster is None:
            raise Trouble(f"{self.name} has no server to stand still")
        self.kill(signal.SIGSTOP)
        signal_all(signal.SIGSTOP, postmaster)
        time.sleep(seconds)
        went_on = time.monotonic()
        signal_all(signal.SIGCONT, postmaster)
        self.kill(signal.SIGCONT)
        return went_on

    def kill_server(self):
        pid = self.postmaster()
        if pid is None:
            raise Trouble(f"{self.name} has no server to be killed")
        os.kill(pid, signal.SIGKILL)

    def kill_all(self):
        self.kill()
        self.process.wait()
        self.kill_server()

    def stop(self, patience=30):
        super().stop(patience)
        if self.postmaster() is not None:
            self.kill_server()


class Cluster:
    clock = None  # it has the machine's

    def __init__(self, home, bindir, sockets, configuration):
        self.home = home
        self.bindir = bindir
        self.socket = sockets
        self.password = secrets.token_hex(16)
        self.parameters = {
            **settings_of(configuration),
            "shared_preload_libraries": "pictrepo",
            # A node dies here, and no machine does.
            "fsync": "off",
            # A statement that is cancelled while it waits for the standby is acknowledged
            # with a warning that nobody reads, and so not by this.
            "statement_timeout": 0,
            "wal_keep_size": "512MB",
            "max_connections": 60,
        }
        for name in ("etcd", *NODES):
            shutil.rmtree(home / name, ignore_errors=True)
        self.etcd_port, peer_port, *ports = free_ports(2 + 2 * len(NODES))
        (home / "etcd").mkdir()
        peer, client = f"http://127.0.0.1:{peer_port}", f"http://127.0.0.1:{self.etcd_port}"
        self.etcd = Daemon(home / "etcd", [
            "etcd", "--data-dir", "data", "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
            "--listen-client-urls", client, "--advertise-client-urls", client])
        self.nodes = {name: Node(self, name, *ports[2 * n:2 * n + 2]) for n, name in enumerate(NODES)}

    def start(self):
        """One after the other: the first is to be the leader."""
        self.etcd.start()
        for node in self.nodes.values():
            node.start()
            wait_for("a leader", self.leader)
        self.wait_until_whole()

    def stop(self):
        for daemon in (*self.nodes.values(), self.etcd):
            daemon.stop()

    def connect(self, name):
        """To whichever node is the leader; a client knows no more than where they all are."""
        return psycopg.connect(
            host=",".join(self.socket for _ in self.nodes),
            port=",".join(str(node.port) for node in self.nodes.values()),
            user="postgres", dbname="postgres", target_session_attrs="read-write",
            autocommit=True, application_name=name, connect_timeout=5)

    # ----- what Patroni says -----

    def members(self):
        """As any node sees them; nothing as long as none does."""
        for node in self.nodes.values():
            try:
                with urllib.request.urlopen(f"http://{node.rest}/cluster", timeout=3) as answer:
                    return json.load(answer)["members"]
            except (OSError, ValueError, KeyError):
                continue
        return []

    def leader(self):
        for member in self.members():
            if member["role"] == "leader" and member["state"] == "running":
                return self.nodes[member["name"]]
        return None

    def is_whole(self):
        """All nodes follow, and one of them is synchronous."""
        states = [(m["role"], m["state"], m.get("timeline")) for m in self.members()]
        return len(states) == len(self.nodes) \
            and sorted(role for role, _, _ in states) == ["leader", "replica", "sync_standby"] \
            and all(state in ("running", "streaming") for _, state, _ in states) \
            and len({timeline for _, _, timeline in states}) == 1 and self.is_streaming()

    def is_streaming(self):
        """As the leader sees it."""
        try:
            with self.connect("failover check") as db:
                states = db.execute("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
                                    " AND application_name = ANY(%s) ORDER BY 1", (NODES,)).fetchall()
                return states == [("async",), ("sync",)]
        except psycopg.Error:
            return False

    def wait_until_whole(self):
        wait_for("the cluster to be whole", self.is_whole, pause=0.3)

    def switch_over(self):
        """A planned one: Patroni stops the leader and makes the synchronous standby the next."""
        leader = self.leader()
        request = urllib.request.Request(
            f"http://{leader.rest}/switchover", json.dumps({"leader": leader.name}).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            answer.read()
