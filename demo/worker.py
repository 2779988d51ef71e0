"""A worker of the demo: takes jobs from a queue until it is told to stop.

    worker.py STORE QUEUE NAME [--dawdle]

With --dawdle it takes one job and never gets it done, though it sends its
heartbeats: the one to be killed.
"""

import hashlib
import sys
import time
import uuid
from datetime import datetime, timezone

import psycopg
from psycopg.types.json import Jsonb

from pulse import beating
from store import FORMATS, NotAPicture, Store, look_at


class Worker:
    def __init__(self, store, queue, name, dawdle):
        self.store = store
        self.queue = queue
        self.name = name
        self.dawdle = dawdle
        self.id = uuid.uuid4()
        self.db = psycopg.connect(user="imagehost", autocommit=True)

    def call(self, sql, *args):
        """The answer of one function."""
        return self.db.execute(sql, args).fetchone()[0]

    def run(self):
        while True:
            # waits in the server; when the time is up there is no row
            job = self.db.execute(
                "SELECT id, job, attempt FROM pictrepo.pop(%s, %s, wait => '5 s')",
                (self.queue, self.id)).fetchone()
            if job is not None:
                self.do(*job)

    def do(self, job_id, job, attempt):
        while self.dawdle:
            self.beat(job_id, attempt)
            time.sleep(0.2)
        if attempt > 1:
            print(f"  {self.name} takes over a job, attempt {attempt}", flush=True)
        try:
            if "Ingest" in job:
                self.ingest(job_id, attempt, **job["Ingest"])
            else:
                self.remove_file(job_id, attempt, **job["Identifier"])
        except NotAPicture as error:
            self.give_up(job_id, attempt, job["Ingest"]["identifier"], str(error))

    def beat(self, job_id, attempt):
        self.call("SELECT pictrepo.heartbeat(%s, %s, %s, %s)", self.queue, self.id, job_id, attempt)

    def give_up(self, job_id, attempt, identifier, error):
        """Trying again would not help: the file goes, the job's upload gets a Failure."""
        with self.db.transaction():
            self.call("SELECT pictrepo.push('cleanup', %s)",
                      Jsonb({"Identifier": {"identifier": identifier}}))
            outcome = self.call("SELECT pictrepo.complete_job(%s, %s, %s, 'aborted', %s, %s)",
                                self.queue, self.id, job_id, error, attempt)
            if outcome == "lost":
                # another worker has the job now, and needs the file
                raise psycopg.Rollback()

    def ingest(self, job_id, attempt, identifier, upload):
        """Look at an uploaded file and make it known under a new alias."""
        with beating(lambda: self.beat(job_id, attempt)):
            data = self.store.read(identifier)
            kind, width, height, frames = look_at(self.store.path(identifier))
            sha256 = hashlib.sha256(data).digest()

        format, details_format, content_type = FORMATS[kind]
        hash = self.call("SELECT pictrepo.make_hash(%s, %s, %s)", sha256, len(data), format)
        details = {
            "width": width, "height": height, "format": details_format,
            "content_type": content_type, "frames": frames if frames > 1 else None,
            "created_at": datetime.now(timezone.utc).isoformat(),
            "worker": self.name, "attempt": attempt,
        }
        alias = f"{uuid.uuid4()}.{format}"
        token = str(uuid.uuid4())

        # The picture, the upload's result and the end of the job in one: a worker
        # that dies before leaves no trace. The file goes if the content is known.
        self.call("SELECT outcome FROM pictrepo.finish_ingest(%s, %s, %s, %s, %s, %s, %s, %s, %s, attempt => %s)",
                  self.queue, self.id, job_id, upload,
                  hash, identifier, Jsonb(details), alias, token, attempt)

    def remove_file(self, job_id, attempt, identifier):
        self.store.remove(identifier)
        self.call("SELECT pictrepo.complete_job(%s, %s, %s, attempt => %s)", self.queue, self.id, job_id, attempt)


if __name__ == "__main__":
    root, queue, name, *options = sys.argv[1:]
    try:
        Worker(Store(root), queue, name, "--dawdle" in options).run()
    except KeyboardInterrupt:
        pass
