"""Writes the reference of pictrepo as Markdown, from the comments in a server's catalog.

It asks the server that PGHOST and the like name, which must preload pictrepo, and leaves nothing there.
doc/examples.sql has the example of each function. The catalog has no channels, wait events and error codes:
these are listed here and compared with the source.
"""

import re
import sys
import textwrap
from pathlib import Path

import psycopg
from psycopg.rows import namedtuple_row

sys.dont_write_bytecode = True
import examples  # noqa: E402

SOURCE = Path(__file__).resolve().parent.parent / "src"
LEVELS = ("reader", "writer", "admin")

# Chapters: a title, the files that declare the objects of the chapter, and one sentence about it.
CHAPTERS = (
    ("Hashes", "images/hashes", "The stored content. The hash of a file's content names it."),
    ("Variants", "images/variants", "Processed forms of stored content, and the claims of the workers that make them."),
    ("Aliases", "images/aliases", "The names under which content is served, and the tokens that delete them."),
    ("Proxies", "images/proxies", "URLs of other hosts whose content is kept here under an alias."),
    ("Access times", "images/access_times", "When aliases and variants were last served."),
    ("Details", "images/details", "Width, height, format and the like of a stored file."),
    ("Settings of the image host", "images/host_settings",
     "Values that the image host stores for its own use. The settings of pictrepo are [below](#settings)."),
    ("Store migration", "images/store_migrations", "Which files have moved from one store to another."),
    ("Queue", "queue/queue queue/job_admin queue/stats",
     "Jobs, the workers that hold them, and jobs that failed for good."),
    ("Operations", "operations/operations",
     "Each function does one whole task of an image host, in one call and one commit."),
    ("JSON lines", "transfer/lines", "The whole repo as JSON lines. Each line can be imported alone."),
    ("pict-rs", "transfer/pictrs", "Import from the tables that pict-rs keeps in PostgreSQL, and export to them."),
    ("Schedules", "queue/schedules", "Jobs that are pushed again and again."),
    ("Uploads", "images/uploads", "Uploads that are processed in the background."),
    ("Waiting", "admin/waiting", "Sessions that wait for a job, for the result of an upload or for a variant."),
    ("Background worker", "worker/worker queue/restore_hold xact/notify admin/samples", "The tasks of the background worker of a database, and when each of them last ran."),
    ("The repo as a whole", "admin/status admin/counts admin/roles sqlfunc/row_lock header footer",
     "Whether the repo works, how it is doing, and who may use it."),
    ("Values", "images/values", "Helper functions for the values that the repo stores: hashes, slugs, ids."),
)

CHANNELS = {
    "queue_status_channel":
        "`<job id> <queue>`: a job is ready. With `pictrepo.notify = coalesced`, at most one per queue and round.",
    "upload_completion_channel": "`<upload id>`: an upload has its result.",
    "keyed_notification_channel":
        "the hash in base64, then the variant: a variant is stored, or the claim on it ended.",
}

WAIT_EVENTS = {
    "PictrepoJob": "`pop` or `pop_wait` waits for a job.",
    "PictrepoUpload": "`wait` waits for the result of an upload.",
    "PictrepoVariant": "`variant_waiter` waits for a variant.",
    "PictrepoLauncherMain": "The launcher waits until a database needs a worker.",
    "PictrepoWorkerMain": "The background worker of a database waits for its next task.",
}

# The keys are the names in errcodes.h.
ERRORS = {
    "STRING_DATA_RIGHT_TRUNCATION":
        ("22001", "An argument is too long."),
    "NULL_VALUE_NOT_ALLOWED":
        ("22004", "An argument, an element of an array or a column is NULL and must not be."),
    "INVALID_PARAMETER_VALUE":
        ("22023", "An argument has a value outside of what the function accepts. The detail says why."),
    "INVALID_TEXT_REPRESENTATION":
        ("22P02", "An argument is malformed JSON."),
    "FOREIGN_KEY_VIOLATION":
        ("23503", "An argument names a hash or an alias that is not stored."),
    "CHECK_VIOLATION":
        ("23514", "Somebody wrote an impossible row into `job_queue` by hand."),
    "INVALID_TRANSACTION_TERMINATION":
        ("2D000", "A transaction block or a function calls a procedure that commits: `pop_wait`, `import_pictrs`,"
                  " `export_pictrs`."),
    "E_R_I_E_TRIGGER_PROTOCOL_VIOLATED":
        ("39P01", "A trigger function was called by something else than its own trigger."),
    "T_R_SERIALIZATION_FAILURE":
        ("40001", "Under `REPEATABLE READ` or `SERIALIZABLE`, another transaction changed a row at the same moment."
                  " Or it changed a hash or an alias, or what belongs to it, after this transaction took its"
                  " snapshot. Retry the transaction."),
    "UNDEFINED_COLUMN":
        ("42703", "A column is missing: in pict-rs's tables or, altered by hand, in `job_queue`."),
    "DATATYPE_MISMATCH":
        ("42804", "A column of pict-rs's tables has another type. Or the SQL declarations do not belong to this version"
                  " of the library."),
    "UNDEFINED_FUNCTION":
        ("42883", "The function was dropped during the call."),
    "UNDEFINED_TABLE":
        ("42P01", "One of the tables that `import_pictrs` and `export_pictrs` need does not exist."),
    "CONFIGURATION_LIMIT_EXCEEDED":
        ("53400", "No slot of `max_worker_processes` is free for the background worker."),
    "OBJECT_NOT_IN_PREREQUISITE_STATE":
        ("55000", "The rows of `transfers` were removed during the import or export."),
    "OBJECT_IN_USE":
        ("55006", "Another session is importing from or exporting to the same schema."),
    "IO_ERROR":
        ("58030", "`health_check` did not read back the value that it had written."),
    "NO_DATA_FOUND":
        ("P0002", "The upload that `wait` is called for does not exist, or was claimed."),
}
# Raised by the server for pictrepo; test/checks/errors compares them with what tests expect.
SERVERS_ERRORS = {
    "XX000": "A bug in pictrepo: please report it.",
    "0A000": "A transaction that sends notifications itself is prepared: see [Jobs](jobs.md#notifications).",
    "22021": "A text is not valid in the encoding of the database.",
    "25006": "A function that writes is called on a standby or in a read-only transaction.",
    "42501": "The role may not call this function. Or, at CREATE EXTENSION, the schema `pictrepo` belongs to a role"
             " that is not a superuser.",
    "42602": "The name of a setting begins with `pictrepo.`, and no such setting exists.",
    "42704": "The role given to `grant_access` does not exist.",
    "3F000": "The schema given to `import_pictrs` or `export_pictrs` does not exist. Or the extension was dropped.",
    "40P01": "Deadlock: this transaction and another one wait for each other. This can happen to transactions of several"
             " calls, and to a pop in a transaction that holds jobs already. Retry the transaction.",
    "53100": "The disk is full.",
    "53200": "The server is out of memory, or out of locks (`max_locks_per_transaction`).",
    "54000": "A value is larger than the server can store.",
    "55P03": "A lock could not be acquired within `lock_timeout`.",
    "57014": "A waiting call was cancelled, or `statement_timeout` has passed.",
    "57P01": "The server ends the session: it shuts down, or somebody called `pg_terminate_backend`. A call that was not"
             " acknowledged may have committed or not, but never half of it.",
}

INTRODUCTION = """\
# pictrepo: the reference

This page lists every function, table, view, type, setting, channel, wait event and error of the extension. The
[README](../README.md) introduces it. `make docs` writes this page from the comments in the database. psql
shows the same comments: `\\df+ pictrepo.*` for functions, `\\dt+ pictrepo.*` for tables, `\\dv+ pictrepo.*` for
views and `\\d+ pictrepo.*` for columns.

A line beneath each function names the level that a role needs to call it: *reader*, *writer* or *admin*.
`grant_access` gives a role its level. A writer may do everything that a reader may, and an admin everything that
a writer may. The line also gives the function's volatility. A *volatile* function writes, waits or takes a new
snapshot. A *stable* function reads with the snapshot of the calling query. The result of an *immutable* function
depends on its arguments alone.

You may leave out an argument with `=`, which has a default. In the text, a name with a colon, such as *max:*, is an
argument. After it stand the values that the argument takes, or what NULL means.

The examples ran in psql, one after the other, in one session of a server that preloads pictrepo. Fixed values
replace each id and the time of the run, so that this page does not change with each run. `:'cat'`, `:'job'` and
other names with a colon are psql variables. `\\gset` stored the result of an earlier example in them. In the source,
`doc/examples.sql` has the examples in their order.
"""

FUNCTIONS = """
SELECT p.proname AS name, p.prokind = 'p' AS is_procedure, p.proretset AS is_set,
    CASE p.provolatile WHEN 'v' THEN 'volatile' WHEN 's' THEN 'stable' ELSE 'immutable' END AS volatility,
    p.prorettype = 'trigger'::regtype AS is_trigger,
    format_type(p.prorettype, NULL) AS returns, obj_description(p.oid, 'pg_proc') AS comment,
    (SELECT array_agg(level ORDER BY n) FROM unnest(%(levels)s::text[]) WITH ORDINALITY AS l (level, n)
        WHERE has_function_privilege('pictrepo_reference_' || level, p.oid, 'EXECUTE')) AS levels,
    (SELECT array_agg(ARRAY[CASE p.proargmodes[n] WHEN 'o' THEN 'OUT ' WHEN 'b' THEN 'INOUT ' ELSE '' END,
            p.proargnames[n], format_type(type, NULL), pg_get_function_arg_default(p.oid, n::int)] ORDER BY n)
        FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY AS a (type, n)) AS arguments
FROM pg_proc p
WHERE p.pronamespace = 'pictrepo'::regnamespace
"""

RELATIONS = """
SELECT c.relname AS name, CASE c.relkind WHEN 'r' THEN 'Table' WHEN 'v' THEN 'View' ELSE 'Type' END AS kind,
    coalesce(obj_description(c.oid, 'pg_class'), obj_description(c.reltype, 'pg_type')) AS comment,
    (SELECT array_agg(ARRAY[a.attname::text, format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN 'not null' END, pg_get_expr(d.adbin, d.adrelid),
            (SELECT f.confrelid::regclass::text FROM pg_constraint f
                WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum]),
            col_description(c.oid, a.attnum)] ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    (SELECT array_agg(a.attname::text ORDER BY array_position(k.conkey, a.attnum))
        FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey)
        WHERE k.conrelid = c.oid AND k.contype = 'p') AS key
FROM pg_class c
WHERE c.relnamespace = 'pictrepo'::regnamespace AND c.relkind IN ('r', 'v', 'c')
"""

ENUMS = """
SELECT t.typname AS name, obj_description(t.oid, 'pg_type') AS comment,
    (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels
FROM pg_type t
WHERE t.typnamespace = 'pictrepo'::regnamespace AND t.typtype = 'e'
"""

SETTINGS = """
SELECT name, concat_ws(' ', short_desc, extra_desc) AS comment, vartype, unit, context, boot_val, min_val, max_val, enumvals
FROM pg_settings WHERE name LIKE 'pictrepo.%' ORDER BY name
"""

CONTEXTS = {
    "postmaster": "A change needs a restart of the server.",
    "sighup": "It holds for the whole server. A change needs a reload.",
    "superuser": "A superuser can set it for the server, a database, a role or a session.",
}

SHORT_TYPES = (("timestamp with time zone", "timestamptz"), ("boolean", "bool"), ("integer", "int"))
UNITS = {"ms": ("ms", (1000, "s"), (60, "min"), (60, "h"), (24, "d")),
         "s": ("s", (60, "min"), (60, "h"), (24, "d")),
         "kB": ("kB", (1024, "MB"), (1024, "GB"))}
NO_LIMIT = str(2**31 - 1)


def type_name(name):
    for long, short in SHORT_TYPES:
        name = name.replace(long, short)
    return name


def expression(text):
    """A default as the source has it: without the casts that the server adds."""
    return re.sub(r"::[a-z ]+(\[\])?", "", text)


def plain(text):
    """Where Markdown would see a tag, there is none."""
    return text.replace("<", r"\<")


def sentence(comment):
    text = plain(comment[0].upper() + comment[1:])
    return text if text.endswith((".", "?")) else text + "."


def wrapped(text, indent=""):
    return textwrap.fill(text, 110, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


# ----- functions -----

def argument_text(argument):
    mode, name, type_, default = argument
    return f"{mode}{name} {type_name(type_)}" + (f" = {expression(default)}" if default else "")


def packed(pieces, width=100):
    """The pieces in lines, none of them broken."""
    lines = pieces[:1]
    for piece in pieces[1:]:
        if len(lines[-1]) + 1 + len(piece) > width:
            lines.append("    " + piece)
        else:
            lines[-1] += " " + piece
    return lines


def signature(function):
    """As one line where it fits, else what goes in, what comes out and the type begin lines of their own."""
    arguments = function.arguments or ()
    given = [argument_text(argument) for argument in arguments if argument[0] == ""]
    answered = [argument_text(argument) for argument in arguments if argument[0] != ""]
    start = f"{'PROCEDURE' if function.is_procedure else 'FUNCTION'} pictrepo.{function.name}("
    end = ")"
    returns = f"RETURNS {'SETOF ' if function.is_set else ''}{type_name(function.returns)}"
    if function.is_procedure:
        returns = ""
    whole = f"{start}{', '.join(given + answered)}{end} {returns}".rstrip()
    if len(whole) <= 100:
        return whole
    pieces = [argument + "," for argument in given + answered]
    pieces[-1] = pieces[-1][:-1] + end
    pieces[0] = start + pieces[0]
    lines = packed(pieces[:len(given)]) if given else []
    if answered:
        first, *others = packed(pieces[len(given):], 96)
        lines += ["    " * bool(given) + first, *others]
    return "\n".join([*lines, "    " + returns]).rstrip()


def function_text(function, example=None, overloaded=False):
    heading = f"pictrepo.{function.name}"
    if overloaded:
        heading += f"({','.join(name for mode, name, *_ in function.arguments if mode == '')})"
    if function.is_trigger:
        level = "Only triggers of pictrepo call it."
    elif function.levels is None:
        level = f"Only superusers may call it, and roles that a superuser grants EXECUTE; {function.volatility}."
    else:
        level = f"Level {function.levels[0]}; {function.volatility}."
    return (f"### {heading}\n\n```sql\n{signature(function)}\n```\n\n"
            f"{wrapped(sentence(function.comment))}\n\n*{level}*\n"
            + (f"\n{example}\n" if example else ""))


# ----- tables, views and types -----

def column_text(column, key):
    name, type_, not_null, default, refers_to, comment = column
    facts = [type_name(type_)]
    if not_null and name not in key:
        facts.append(not_null)
    if default:
        facts.append(f"default {expression(default)}")
    if refers_to:
        facts.append(f"references {refers_to}")
    return wrapped(f"- `{name}` ({', '.join(facts)}): {plain(comment)}", "  ")


def relation_text(relation):
    key = relation.key or ()
    text = sentence(relation.comment)
    if key:
        text += f" The primary key is `{', '.join(key)}`."
    columns = "\n".join(column_text(column, key) for column in relation.columns)
    return f"### {relation.kind} pictrepo.{relation.name}\n\n{wrapped(text)}\n\n{columns}\n"


def enum_text(enum):
    labels = ", ".join(f"`{label}`" for label in enum.labels)
    return f"### Type pictrepo.{enum.name}\n\n{wrapped(sentence(enum.comment))}\n\nIts values are {labels}.\n"


# ----- settings -----

def amount(value, unit):
    if unit is None or value == "0":
        return value
    number = int(value)
    name, *larger = UNITS[unit]
    for factor, larger_name in larger:
        if number % factor:
            break
        number, name = number // factor, larger_name
    return f"{number}{name}"


def setting_text(setting):
    default = f"The default is `{amount(setting.boot_val, setting.unit)}`"
    if setting.vartype == "enum":
        values = f"; it may be {' or '.join(f'`{value}`' for value in setting.enumvals)}."
    elif setting.vartype == "bool":
        values = "; it may be `on` or `off`."
    else:
        least, most = (amount(value, setting.unit) for value in (setting.min_val, setting.max_val))
        values = f", the least is `{least}`." if setting.max_val == NO_LIMIT else f"; it may be `{least}` to `{most}`."
    return (f"### {setting.name}\n\n{wrapped(sentence(setting.comment))}\n\n"
            f"{wrapped(default + values + ' ' + CONTEXTS[setting.context])}\n")


# ----- what the source has -----

def declared():
    """The chapter of each object, and its place in the order of the source. Keys: is it a routine, name."""
    places = {}
    if missing := {str(path.relative_to(SOURCE))[:-4] for path in SOURCE.glob("**/*.sql")
                    if "upgrade" not in path.parts}.difference(*(files.split() for _, files, _ in CHAPTERS)):
        sys.exit(f"{__file__} has no chapter for {', '.join(sorted(missing))}.")
    for number, (_, files, _) in enumerate(CHAPTERS):
        for file in files.split():
            text = (SOURCE / f"{file}.sql").read_text()
            for match in re.finditer(r"^CREATE (FUNCTION|PROCEDURE|TABLE|VIEW|TYPE) pictrepo\.(\w+)", text, re.M):
                routine = match[1] in ("FUNCTION", "PROCEDURE")
                places.setdefault((routine, match[2]), (number, len(places)))
    return places


def compare(what, told, pattern):
    # Injection points are in no normal build.
    text = "\n".join(path.read_text() for path in sorted(SOURCE.glob("*/*.[ch]")) if path.stem != "injection_points")
    if (there := set(re.findall(pattern, text))) != set(told):
        sys.exit(f"{__file__} lists other {what} than the source has: {', '.join(sorted(there ^ set(told)))}")


def listed(texts):
    return "\n".join(wrapped(f"- `{name}`: {text}", "  ") for name, text in texts.items()) + "\n"


def other_texts():
    compare("channels", CHANNELS, r'"(\w+_channel)"')
    compare("wait events", WAIT_EVENTS, r'"(Pictrepo[A-Z]\w+)"')
    compare("errors", ERRORS, r"errcode\((?:[^()]*\? )?ERRCODE_(\w+)")
    errors = SERVERS_ERRORS | dict(ERRORS.values())
    return (
        ("Notification channels",
         "The channels and payloads are those of pict-rs. The setting `pictrepo.notify` says how notifications are sent.\n\n" + listed(CHANNELS)),
        ("Wait events",
         "`pg_stat_activity` shows them with the type `Extension`. Before PostgreSQL 17 the event is named `Extension`, too.\n\n"
         + listed(WAIT_EVENTS)),
        ("Errors",
         "A call that ends in an error changes nothing. An error about an argument names the argument. No message\n"
         "contains a delete token.\n\n" + listed(dict(sorted(errors.items())))),
    )


# ----- all of it -----

def anchor(heading):
    return "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def link(heading, text):
    return f"[{text}]({anchor(heading)})"


def read_catalog(connection):
    connection.execute("SET search_path = pg_catalog, pg_temp")
    connection.execute("SET client_min_messages = warning")
    connection.execute("SET IntervalStyle = 'postgres'")
    connection.execute("CREATE EXTENSION IF NOT EXISTS pictrepo")
    if "pictrepo" not in connection.execute("SHOW shared_preload_libraries").fetchone()[0]:
        sys.exit("The server does not preload pictrepo, so its settings are not as they are meant to be.")
    for level in LEVELS:
        connection.execute(f"CREATE ROLE pictrepo_reference_{level}")
        connection.execute("SELECT pictrepo.grant_access(%s, %s)", (f"pictrepo_reference_{level}", level))
    places = declared()

    def sorted_rows(query, routine, *arguments):
        rows = connection.execute(query, *arguments).fetchall()
        return sorted(((places[routine, row.name], row) for row in rows), key=lambda pair: pair[0])

    functions = sorted_rows(FUNCTIONS, True, {"levels": list(LEVELS)})
    functions.sort(key=lambda pair: pair[1].is_trigger)
    shown = examples.run([row.name for _, row in functions if not row.is_trigger])
    parts = []
    for place, row in functions:
        if not row.is_trigger:
            overloaded = row.name in {name for _, name, _ in parts}
            parts.append((place, row.name, function_text(row, None if overloaded else shown[row.name], overloaded)))
    parts += [(place, row.name, relation_text(row)) for place, row in sorted_rows(RELATIONS, False)]
    parts += [(place, row.name, enum_text(row)) for place, row in sorted_rows(ENUMS, False)]
    parts += [(place, row.name, function_text(row)) for place, row in functions if row.is_trigger]
    return parts, [(row.name, setting_text(row)) for row in connection.execute(SETTINGS)]


def reference(connection):
    parts, settings = read_catalog(connection)
    contents, chapters = [], []

    def chapter(title, introduction, texts):
        heads = []
        for name, text in texts:
            heading = text.splitlines()[0].removeprefix("### ")
            kind = heading.split()[0].lower() + " " if " " in heading else ""
            heads.append(link(heading, f"{kind}{name.removeprefix('pictrepo.')}"))
        contents.append(wrapped(f"- {link(title, title)}" + (": " + ", ".join(heads) if heads else ""), "  "))
        chapters.append("\n".join([f"## {title}\n\n{introduction}", *(text for _, text in texts)]))

    for number, (title, _, introduction) in enumerate(CHAPTERS):
        chapter(title, introduction + "\n", [(name, text) for place, name, text in parts if place[0] == number])
    chapter("Settings", "Set them in postgresql.conf or by ALTER SYSTEM. The last sentence of a setting says whether you can also set it\nfor a database, a role or a session.\n", settings)
    for title, text in other_texts():
        chapter(title, text, [])

    text = INTRODUCTION + "\n" + "\n".join(contents) + "\n\n" + "\n".join(chapters)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    if len(set(map(anchor, headings))) < len(headings):
        sys.exit("Two headings would have the same anchor.")
    return text


with psycopg.connect(row_factory=namedtuple_row) as server:
    print(reference(server), end="")
    server.rollback()
