"""What is measured of the repo, and how each contestant does it."""

from measure import rate, reading, script
from moving import export_rate, import_rate
from options import BETWEEN, FEW_ROUNDS, ROUNDS
from peers import (EMPTY, JOIN, PICTRS_FIRST_PAGE, PICTRS_INGEST, PICTRS_OLDER_ALIASES,
                   PICTRS_OLDER_VARIANTS, PICTRS_PAGE, empty_of, pictrs_accessed, pictrs_delete,
                   pictrs_serve)
from queue_works import MANY_JOBS, START
from work import FLOOR, PICTREPO, PICTRS, Work

ANY_IMAGE = r"\set n random(1, :rows)"
ANY_PROXY = r"\set n random(1, least(:rows, 300000))"
ALIAS = "'a' || :n"
NEW_IMAGE = r"\set content random(1, 9000000000000000000)"

# Each image is deleted once: so many, for each client, are there to be deleted.
SUPPLY = 500
SUPPLY_OF_PICTRS = 20  # it looks through all proxies for each of them
NEXT_OF_SUPPLY = (r"\set n :client_id + :clients * :turn", r"\set turn :turn + 1")
DOOMED = "'doomed' || :n"


def supply(count):
    """Images to delete."""
    numbers = f"generate_series(0, :clients * {count} - 1) n"
    content = "sha256(('doomed' || n)::bytea)"
    return (
        *START,
        f"INSERT INTO pictrepo.hashes (hash, identifier) SELECT {content}, 'doomed' || n FROM {numbers}"
        " ON CONFLICT DO NOTHING",
        f"INSERT INTO pictrepo.aliases (alias, hash, delete_token) SELECT 'doomed' || n, {content}, 't'"
        f" FROM {numbers} ON CONFLICT DO NOTHING",
        "INSERT INTO pictrepo.variants (hash, variant, identifier)"
        f" SELECT {content}, 'v', 'v' || n FROM {numbers} ON CONFLICT DO NOTHING",
        "INSERT INTO pictrepo.details"
        f" SELECT 'doomed' || n, '{{\"width\": 640, \"height\": 480}}' FROM {numbers} ON CONFLICT DO NOTHING",
        f"INSERT INTO pictrs.hashes (hash, identifier) SELECT encode({content}, 'base64'), 'doomed' || n"
        f" FROM {numbers} ON CONFLICT DO NOTHING",
        "INSERT INTO pictrs.aliases (alias, hash, token)"
        f" SELECT 'doomed' || n, encode({content}, 'base64'), 't' FROM {numbers} ON CONFLICT DO NOTHING",
        "INSERT INTO pictrs.variants (hash, variant, identifier)"
        f" SELECT encode({content}, 'base64'), 'v', 'v' || n FROM {numbers} ON CONFLICT DO NOTHING",
    )


def page(depth, title):
    """A page as deep as that, from 0, the newest, to 1, the last one."""
    if depth == 0:
        contestants = {PICTREPO: reading("SELECT pictrepo.hash_page(NULL, 20)"),
                       PICTRS: reading(PICTRS_FIRST_PAGE)}
    else:
        # One minute lies between two hashes.
        at = rf"\set minute 20 + (:rows - 20) * (1.0 - {depth})"
        time = "'2020-01-01 00:00:30'::timestamp + :minute * interval '1 minute'"
        contestants = {PICTREPO: reading(at, f"SELECT pictrepo.hash_page_by_date({time}, 20)"),
                       PICTRS: reading(at, *(query.replace(":at", f"({time})") for query in PICTRS_PAGE))}
    return Work("page", f"a page of 20 hashes: {title}", contestants, at=depth, grows=depth == 1,
                rounds=ROUNDS if depth in (0, 1) else FEW_ROUNDS if depth in (0.001, 0.5) else BETWEEN)


REPO_WORKS = [
    Work("serve", "serve an alias", {
        PICTREPO: reading(ANY_IMAGE, f"SELECT * FROM pictrepo.serve({ALIAS})"),
        PICTRS: reading(ANY_IMAGE, *pictrs_serve(ALIAS)),
        "the same join by hand": reading(ANY_IMAGE, JOIN + ALIAS),
        FLOOR: reading(ANY_IMAGE, empty_of(ALIAS)),
    }, grows=True),
    Work("touch", "serve a proxied alias and note the access", {
        PICTREPO: rate(script(ANY_PROXY, f"SELECT * FROM pictrepo.serve({ALIAS}, touch => true)")),
        PICTRS: rate(script(ANY_PROXY, pictrs_accessed(ALIAS), *pictrs_serve(ALIAS))),
    }, grows=True),
    Work("ingest", "take an image in", {
        PICTREPO: rate(script(
            NEW_IMAGE, """SELECT * FROM pictrepo.ingest(sha256(int8send(:content)), 'new' || :content,
                '{"width": 640, "height": 480}', 'new' || :content, 't')""")),
        PICTRS: rate(script(NEW_IMAGE, *PICTRS_INGEST)),
    }),
    Work("delete", "delete an image by its last alias", {
        PICTREPO: rate(script(*NEXT_OF_SUPPLY, f"SELECT pictrepo.delete_alias({DOOMED}, 't')"), times=SUPPLY),
        PICTRS: rate(script(*NEXT_OF_SUPPLY, *pictrs_delete(DOOMED)), times=SUPPLY_OF_PICTRS),
    }, before_each=supply(SUPPLY)),
    page(0, "the first"),
    page(0.001, "soon after the first"),
    page(0.25, "after a quarter"),
    page(0.5, "in the middle"),
    page(0.75, "after three quarters"),
    page(1, "the last"),
    Work("outdated", "the 100 variants served longest ago", {
        PICTREPO: reading("SELECT count(*) FROM pictrepo.older_variants('2030-01-01', 100)"),
        PICTRS: reading(PICTRS_OLDER_VARIANTS),
    }, grows=True),
    Work("outdated", "the 100 proxied aliases served longest ago", {
        PICTREPO: reading("SELECT count(*) FROM pictrepo.older_aliases('2030-01-01', 100)"),
        PICTRS: reading(PICTRS_OLDER_ALIASES),
    }),
    Work("count", "how many hashes there are", {
        PICTREPO: reading("SELECT pictrepo.size()"),
        PICTRS: reading("SELECT count(*) FROM pictrs.hashes"),
        FLOOR: reading(EMPTY),
    }, grows=True),
    Work("count", "how many jobs a queue has", {
        PICTREPO: reading("SELECT pictrepo.queue_length('q')"),
        PICTRS: reading("SELECT count(*) FROM pictrs.job_queue"),
        FLOOR: reading(EMPTY),
    }, before_round=MANY_JOBS),
    Work("export", "export all images", {PICTREPO: export_rate}, rounds=1),
    Work("import", "import all images into an empty repo", {PICTREPO: import_rate}, rounds=1),
]
