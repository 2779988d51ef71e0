"""The reference of pictrepo as Markdown, from the comments in a server's catalog.

It asks the server that PGHOST and its like name, which preloads pictrepo, and
leaves nothing there. What no catalog has - channels, wait events, error codes -
is told here, and must be what the source has.
"""

import re
import sys
import textwrap
from pathlib import Path

import psycopg
from psycopg.rows import namedtuple_row

SOURCE = Path(__file__).resolve().parent.parent / "src"
LEVELS = ("reader", "writer", "admin")

# Rooms: a title, the files whose objects are told of there, and what it is about.
ROOMS = (
    ("Hashes", "repo/hashes", "What is stored, by content."),
    ("Variants", "repo/variants", "Processed forms of stored content, and who makes them."),
    ("Aliases", "repo/aliases", "The names under which content is served, and who may delete them."),
    ("Proxies", "repo/proxies", "URLs of other hosts whose content is kept here under an alias."),
    ("Access times", "repo/access", "When aliases and variants were last served."),
    ("Details", "repo/details", "What is known of a stored file."),
    ("Settings of the image host", "repo/settings",
     "What the image host keeps for itself. Those of pictrepo are [below](#settings)."),
    ("Store migration", "repo/migrations", "Which files have moved from one store to another."),
    ("Queue", "repo/queue repo/queue_upkeep",
     "Jobs, who runs them, and what became of those that failed."),
    ("Operations", "repo/operations",
     "One call, and one commit, per thing that an image host does."),
    ("JSON lines", "repo/lines", "The whole repo as JSON, one line per thing that stands alone."),
    ("pict-rs", "repo/pictrs", "From and to the tables that pict-rs keeps in PostgreSQL."),
    ("Schedules", "repo/queue_schedules", "Jobs that are pushed again and again."),
    ("Uploads", "repo/uploads", "Uploads that are processed in the background."),
    ("Waiting", "engine/waiting", "Who waits for a job, for the result of an upload or for a variant."),
    ("Background worker", "engine/worker repo/samples", "What is done from time to time, and when it was."),
    ("The repo as a whole", "repo/full repo/roles header footer",
     "Its health, who may use it, and what follows from an alias."),
    ("Values", "repo/values", "Helpers for the values that the repo stores: hashes, slugs, ids."),
)

CHANNELS = {
    "queue_status_channel":
        "says `<job id> <queue>` when a job is ready. With the setting `pictrepo.notify` at `coalesced`, at most"
        " one per queue and round.",
    "upload_completion_channel": "says `<upload id>` when an upload got its result, or is gone.",
    "keyed_notification_channel":
        "says the hash in base64, then the variant, when a variant is there or the claim on it ended.",
}

WAIT_EVENTS = {
    "PictrepoJob": "`pop` or `pop_wait` waits for a job.",
    "PictrepoUpload": "`wait` waits for the result of an upload.",
    "PictrepoVariant": "`variant_waiter` waits for a variant.",
    "PictrepoLauncherMain": "The launcher waits until a database needs a worker.",
    "PictrepoWorkerMain": "The background worker of a database waits for its next duty.",
}

# By the names that errcodes.h has.
ERRORS = {
    "STRING_DATA_RIGHT_TRUNCATION":
        ("22001", "An argument is too long."),
    "NULL_VALUE_NOT_ALLOWED":
        ("22004", "An argument, an element of an array or a column is NULL and must not be."),
    "INVALID_PARAMETER_VALUE":
        ("22023", "An argument has a value that it cannot have; the detail says why."),
    "INVALID_TEXT_REPRESENTATION":
        ("22P02", "An argument is malformed JSON."),
    "FOREIGN_KEY_VIOLATION":
        ("23503", "An argument names a hash or an alias that is not stored."),
    "CHECK_VIOLATION":
        ("23514", "A row of `job_queue` that was written by hand says something impossible."),
    "INVALID_TRANSACTION_TERMINATION":
        ("2D000", "A procedure that commits by itself is called in a transaction block or a function: `pop_wait`,"
                  " `import_pictrs`, `export_pictrs`."),
    "E_R_I_E_TRIGGER_PROTOCOL_VIOLATED":
        ("39P01", "A trigger function is called in another way than by the trigger it is made for."),
    "T_R_SERIALIZATION_FAILURE":
        ("40001", "Under `REPEATABLE READ` or `SERIALIZABLE`: others changed what the call needs after the transaction took"
                  " its snapshot. Try the transaction again."),
    "UNDEFINED_COLUMN":
        ("42703", "A column is not there: of pict-rs's tables or, altered by hand, of `job_queue`."),
    "DATATYPE_MISMATCH":
        ("42804", "A column of pict-rs's tables has another type; or the SQL declarations are not those that this library"
                  " goes with."),
    "UNDEFINED_FUNCTION":
        ("42883", "The function was dropped while it was called."),
    "UNDEFINED_TABLE":
        ("42P01", "One of the tables that `import_pictrs` and `export_pictrs` need is not there."),
    "CONFIGURATION_LIMIT_EXCEEDED":
        ("53400", "No slot of `max_worker_processes` is free for the background worker."),
    "OBJECT_NOT_IN_PREREQUISITE_STATE":
        ("55000", "Somebody removed the rows of `transfers` of an import or export that is under way."),
    "OBJECT_IN_USE":
        ("55006", "Another session is importing from or exporting to the same schema."),
    "IO_ERROR":
        ("58030", "`health_check` did not read what it had written."),
    "NO_DATA_FOUND":
        ("P0002", "`wait` is asked for an upload that is not there, or no longer."),
    "INTERNAL_ERROR":
        ("XX000", "What should not happen: please report it."),
}
# Raised by the server for pictrepo; test/checks/errors compares them with what tests expect.
SERVERS_ERRORS = {
    "22021": "A text is not in the encoding of the database.",
    "25006": "What writes is called on a standby or in a read-only transaction.",
    "42501": "The role may not call this; or, at CREATE EXTENSION, the schema `pictrepo` belongs to"
             " a role that is not a superuser.",
    "42602": "A setting `pictrepo.` something is set that there is not.",
    "42704": "`grant_access` is asked for a role that does not exist.",
    "3F000": "`import_pictrs` or `export_pictrs` is asked for a schema that does not exist; or the extension was dropped.",
    "40P01": "Two transactions of several calls, or a pop in one that holds jobs already, wait for each other, and the server"
             " ended this one. Try the transaction again.",
    "53100": "The disk is full.",
    "53200": "The server is out of memory, or out of locks (`max_locks_per_transaction`).",
    "54000": "A value is larger than the server can hold.",
    "55P03": "A lock is not to be had within `lock_timeout`.",
    "57014": "A call that waits is cancelled, or `statement_timeout` has passed.",
    "57P01": "The server ends the session: it shuts down, or somebody called `pg_terminate_backend`. What was not acknowledged may have been done, or not; never half of it.",
}

INTRODUCTION = """\
# pictrepo: the reference

All that the extension has. The [README](../README.md) says how it is used. This text is made from the comments in the
database by `make docs`. psql shows them as well: `\\df+ pictrepo.*` those of functions, `\\dt+ pictrepo.*` of tables,
`\\dv+ pictrepo.*` of views, `\\d+ pictrepo.*` of columns.

Below a function is the level that a role must have been given by `grant_access` to call it: *reader*, *writer* or
*admin*, where each may do all that the one before may. A function is *volatile* if it writes, waits or looks anew,
*stable* if it looks at what the calling query sees, and *immutable* if its answer follows from the arguments alone. An
argument with `=` may be left out. Where a comment says *false:* or *NULL:*, that is the answer in this case; with the name of
an argument before it, it is what was given.
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
    "postmaster": "A change takes a restart.",
    "sighup": "For the whole server; a change takes a reload.",
    "superuser": "A superuser sets it: for the server, a database, a role or a session.",
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
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


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


def function_text(function):
    if function.is_trigger:
        who = "Nobody calls it: it belongs to triggers of pictrepo."
    elif function.levels is None:
        who = f"For superusers and whom they grant it to; {function.volatility}."
    else:
        who = f"Level {function.levels[0]}; {function.volatility}."
    return (f"### pictrepo.{function.name}\n\n```sql\n{signature(function)}\n```\n\n"
            f"{wrapped(sentence(function.comment))}\n\n*{who}*\n")


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
    """The room and the place in the source's order of each object, by whether it is a routine, and name."""
    places = {}
    if roomless := {str(path.relative_to(SOURCE))[:-4] for path in SOURCE.glob("**/*.sql")
                    if "upgrade" not in path.parts}.difference(*(files.split() for _, files, _ in ROOMS)):
        sys.exit(f"{__file__} has no room for {', '.join(sorted(roomless))}.")
    for number, (_, files, _) in enumerate(ROOMS):
        for file in files.split():
            text = (SOURCE / f"{file}.sql").read_text()
            for match in re.finditer(r"^CREATE (FUNCTION|PROCEDURE|TABLE|VIEW|TYPE) pictrepo\.(\w+)", text, re.M):
                routine = match[1] in ("FUNCTION", "PROCEDURE")
                places.setdefault((routine, match[2]), (number, len(places)))
    return places


def compare(what, told, pattern):
    # Injection points are in no normal build.
    text = "\n".join(path.read_text() for path in sorted(SOURCE.glob("*/*.[ch]")) if path.stem != "injection")
    if (there := set(re.findall(pattern, text))) != set(told):
        sys.exit(f"{__file__} tells of other {what} than the source has: {', '.join(sorted(there ^ set(told)))}")


def listed(texts):
    return "\n".join(wrapped(f"- `{name}`: {text}", "  ") for name, text in texts.items()) + "\n"


def other_texts():
    compare("channels", CHANNELS, r'"(\w+_channel)"')
    compare("wait events", WAIT_EVENTS, r'"(Pictrepo[A-Z]\w+)"')
    compare("errors", ERRORS, r"errcode\((?:[^()]*\? )?ERRCODE_(\w+)")
    errors = SERVERS_ERRORS | dict(ERRORS.values())
    return (
        ("Notification channels",
         "Those of pict-rs. The setting `pictrepo.notify` says how they are served.\n\n" + listed(CHANNELS)),
        ("Wait events",
         "In `pg_stat_activity`, with the type `Extension`. Before PostgreSQL 17, which brought names for them, the\n"
         "event is `Extension` as well.\n\n" + listed(WAIT_EVENTS)),
        ("Errors",
         "By their SQLSTATE. An error changes nothing. That of an argument names it, and no message has a delete\n"
         "token in it.\n\n" + listed(dict(sorted(errors.items())))),
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
    parts = [(place, row.name, function_text(row)) for place, row in functions if not row.is_trigger]
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

    for number, (title, _, introduction) in enumerate(ROOMS):
        chapter(title, introduction + "\n", [(name, text) for place, name, text in parts if place[0] == number])
    chapter("Settings", "In postgresql.conf and the like.\n", settings)
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
