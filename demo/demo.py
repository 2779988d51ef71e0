"""The main job of an image host, step by step, on real pictures.

    demo.py DIRECTORY IMAGES [--own]

Every step is one call of a pictrepo function. The workers, in worker.py, are
processes of their own, as they would be on an image host.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

import page
from pulse import beating
from store import NotAPicture, Store, look_at, thumbnail

HERE = Path(__file__).parent
SIZES = (160, 480)
# beside the default directory: photographs, and pictures of another kind
MORE_IMAGES = (*(f"/usr/share/palapeli/collection/{name}.jpg" for name in (
                   "castle-maintenon", "cincinnati-bridge", "citrus-fruits",
                   "european-honey-bee", "panther-chameleon-female")),
               "/usr/share/xplanet/images/earth.jpg", "/usr/share/xplanet/images/night.jpg",
               "/usr/share/xplanet/images/hubble.png", "/usr/share/xplanet/images/iss.png")


def connect():
    """As the image host's role, which has no right on any table."""
    return psycopg.connect(user="imagehost", autocommit=True)


db = connect()


def call(sql, *args, on=None):
    """The answer of one function."""
    return (on or db).execute(sql, args).fetchone()[0]


def say(text):
    print(f"  {text}", flush=True)


def step(text):
    print(f"\n{text}", flush=True)


def find_pictures(directory, own):
    pictures = sorted(p for p in Path(directory).rglob("*")
                      if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".gif", ".webp"))
    if not own:
        pictures += [Path(p) for p in MORE_IMAGES]
    if len(pictures) < 3:
        sys.exit(f"{directory} has {len(pictures)} pictures; the demo needs at least 3")
    return pictures


class Workers:
    """Worker processes; however the demo ends, they end with it."""

    def __init__(self, store):
        self.store = store
        self.processes = {}

    def start(self, name, queue, *options):
        self.processes[name] = subprocess.Popen(
            ["/usr/bin/python3", HERE / "worker.py", self.store.root, queue, name, *options])

    def kill(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def interrupted(self, *_):
        # Threads may wait for something that will not come now.
        for process in self.processes.values():
            process.kill()
        os._exit(130)

    def __enter__(self):
        signal.signal(signal.SIGINT, self.interrupted)
        return self

    def __exit__(self, *_):
        for name in list(self.processes):
            self.kill(name)


def until(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"gave up waiting until {what}")
        time.sleep(0.05)


def upload(store, path):
    """What a client does: store the file, push a job for it, remember the upload."""
    identifier = store.put(path.read_bytes(), path.suffix)
    id = call("SELECT pictrepo.create_upload()")
    push(identifier, id)
    return identifier, id


def push(identifier, upload):
    """The job, once: its key is the upload's id. NULL where it waits or runs already."""
    return call("SELECT pictrepo.push('process', %s, unique_key => %s, upload => %s)",
                Jsonb({"Ingest": {"identifier": identifier, "upload": str(upload)}}),
                str(upload), upload)


def results(uploads):
    """Wait for each upload, claim it; (name, alias, token) of those that went well."""
    good = []
    for name, id in uploads:
        result = call("SELECT pictrepo.wait(%s, '60 s')", id)
        if result is None:
            sys.exit(f"{name}: nobody has looked at it in a minute")
        if not call("SELECT pictrepo.claim(%s)", id):
            sys.exit(f"{name}: somebody else claimed the upload")
        if "Success" in result:
            good.append((name, result["Success"]["alias"], result["Success"]["token"]))
        else:
            say(f"{name}: {result['Failure']['message']}")
    return good


def variant(store, alias, size):
    """Serve a thumbnail: it is there, or it is made here or by whoever was first."""
    name = f"thumbnail.{size}"
    me = uuid.uuid4()
    with connect() as own:
        hash, file, original = own.execute(
            "SELECT hash, identifier, original_identifier FROM pictrepo.serve_variant(%s, %s)",
            (alias, name)).fetchone()
        if file is not None:
            return "exists"
        claim = call("SELECT pictrepo.claim_variant_processing_rights(%s, %s, %s)",
                     hash, name, me, on=own)
        if claim == "claimed":
            make_variant(store, hash, name, original, size, me, own)
        elif claim == "busy":
            call("SELECT pictrepo.variant_waiter(%s, %s, '60 s')", hash, name, on=own)
    return claim


def make_variant(store, hash, name, original, size, me, own):
    try:
        with beating(lambda: call("SELECT pictrepo.variant_heartbeat(%s, %s, %s)",
                                  hash, name, me, on=own)):
            file = store.put(thumbnail(store.path(original), size), ".jpg")
            _, width, height, _ = look_at(store.path(file))
        call("SELECT pictrepo.finish_variant(%s, %s, %s, %s, %s)",
             hash, name, me, file, Jsonb({"width": width, "height": height}), on=own)
    except NotAPicture as error:
        say(str(error))
        # nobody shall wait for it any longer
        call("SELECT pictrepo.notify_variant(%s, %s, %s)", hash, name, me, on=own)


def all_hashes():
    """Page through everything by the slug of the next page."""
    pages = []
    slug = None
    while True:
        hashes, slug = db.execute(
            "SELECT hashes, next FROM pictrepo.hash_page(%s, 10)", (slug,)).fetchone()
        pages.append(hashes)
        if slug is None:
            return pages


def prove(store):
    """Look at everything: is anything left over?"""
    named = set()
    slug = None
    while True:
        files, slug = db.execute(
            "SELECT identifiers, next FROM pictrepo.prune_page(%s, 10)", (slug,)).fetchone()
        named.update(files)
        if slug is None:
            break
    with psycopg.connect() as admin:
        def count(table):
            return admin.execute(f"SELECT count(*) FROM pictrepo.{table}").fetchone()[0]

        left = {
            "files that nothing names": len(store.files() - named),
            "files that are missing": len(named - store.files()),
            "orphans in the repo": count("orphans"),
            "variant claims": count("variant_claims"),
            "uploads": count("uploads"),
            "jobs": count("job_queue"),
        }
    for what, number in left.items():
        say(f"{number:3d} {what}")
    return len(named), sum(left.values())


def run(directory, images, own):
    began = time.monotonic()
    store = Store(directory / "store")
    pictures = find_pictures(images, own)

    with Workers(store) as workers:
        step(call("SELECT pictrepo.health_check()"))

        step(f"{len(pictures)} uploads in the background, one picture twice, and a text file")
        text = directory / "not-a-picture.png"
        text.write_text("This is not a picture.")
        begun = []
        for path in [*pictures, pictures[-1], text]:
            identifier, id = upload(store, path)
            begun.append((path.name, id))
        say(f"{call('SELECT pictrepo.queue_length(%s)', 'process')} jobs wait")
        if push(identifier, id) is not None:
            sys.exit("a job was pushed twice")
        say("the last one pushed again: refused, it waits already")

        step("A worker takes a job and is killed in the middle of it")
        workers.start("unlucky", "process", "--dawdle")
        until("the worker has a job", lambda: call(
            "SELECT count(*) FROM pictrepo.jobs WHERE state = 'running'") == 1)
        workers.kill("unlucky")
        orphan = call("SELECT upload FROM pictrepo.jobs WHERE state = 'running'")
        say(f"kill -9: {dict((id, name) for name, id in begun)[orphan]} is without a heartbeat"
            " now, and another worker gets it in 2 s")

        step("Three workers do the jobs, a fourth removes superfluous files")
        for name in ("worker 1", "worker 2", "worker 3"):
            workers.start(name, "process")
        workers.start("cleaner", "cleanup")
        # it has a result, too: the job of the dead worker was done by another one
        uploaded = results(begun)
        if not uploaded:
            sys.exit("no upload went well")
        say(f"{len(uploaded)} of {len(begun)} uploads went well;"
            f" {call('SELECT pictrepo.size()')} different pictures are stored")

        step("Thumbnails, each asked for by four clients at once")
        aliases = {call("SELECT pictrepo.hash(%s)", alias): alias for _, alias, _ in uploaded}
        wanted = [(store, alias, size)
                  for alias in aliases.values() for size in SIZES for _ in range(4)]
        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(lambda args: variant(*args), wanted))
        say(f"{len(wanted)} requests: {claims.count('claimed')} made one,"
            f" {claims.count('busy')} waited for it, {claims.count('exists')} found it there")

        step("Paging through all of it, ten at a time")
        pages = all_hashes()
        say(f"{len(pages)} pages with {' + '.join(str(len(p)) for p in pages)} pictures")

        step("Serving by alias, one call each")
        for name, alias, _ in uploaded[:3]:
            identifier, details = db.execute(
                "SELECT identifier, details FROM pictrepo.serve(%s, touch => true)",
                (alias,)).fetchone()
            say(f"{alias}: {details['width']}x{details['height']}, {len(store.read(identifier))}"
                f" bytes, was {name}")
        name, alias, _ = uploaded[0]
        url = f"https://example.com/{name}"
        call("SELECT pictrepo.relate_url(%s, %s)", url, alias)
        say(f"{url} is cached as {call('SELECT alias FROM pictrepo.serve_url(%s)', url)}")
        cached = [old for old, _ in db.execute(
            "SELECT alias, accessed FROM pictrepo.older_aliases(clock_timestamp())")]
        if cached != [alias]:
            sys.exit(f"an upload, not a cached url, would expire: {cached}")
        say("it could be fetched again, so it alone would ever expire")

        step("Access times: which thumbnails did nobody look at for a month?")
        call("SELECT pictrepo.set_accessed_variant(%s, 'thumbnail.480', now() - interval '40 days')",
             min(aliases))
        for hash, name, accessed in db.execute(
                "SELECT * FROM pictrepo.older_variants(now() - interval '30 days')"):
            say(f"{name} of {hash.hex()[:12]}, last seen {accessed:%Y-%m-%d}")
        say(f"{call('SELECT pictrepo.expire_variants(now() - %s::interval)', '30 days')} removed")

        step("Deleting every third upload, with its token")
        before = call("SELECT pictrepo.size()")
        say(f"with a wrong token: {call('SELECT pictrepo.delete_alias(%s, %s)', uploaded[-1][1], 'x')}")
        deleted = [call("SELECT pictrepo.delete_alias(%s, %s)", alias, token)
                   for _, alias, token in uploaded[1::3]]
        gone = before - call("SELECT pictrepo.size()")
        say(f"{deleted.count('deleted')} aliases deleted: {gone} pictures went with their last one,"
            f" {len(deleted) - gone} stay under another")

        step("A picture that nobody shall upload again")
        name, alias, _ = uploaded[0]
        path = next(path for path in pictures if path.name == name)
        purged = db.execute("SELECT pictrepo.purge(%s, block => true)", (alias,)).fetchall()
        say(f"{name}: {len(purged)} alias purged, its content blocked; uploaded again:")
        results([(name, upload(store, path)[1])])
        until("all files are removed", lambda: call("SELECT pictrepo.queue_length()") == 0)

    step("What is left over?")
    files, left = prove(store)
    page.write(directory / "index.html", db, {alias: name for name, alias, _ in uploaded})
    step(f"{files} files in the store, each named by the repo, and {left} things left over,"
         f" after {time.monotonic() - began:.0f} s.")
    print(f"Look at {directory / 'index.html'}")
    return left


if __name__ == "__main__":
    sys.exit(1 if run(Path(sys.argv[1]), sys.argv[2], "--own" in sys.argv) else 0)
