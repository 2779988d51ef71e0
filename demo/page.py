"""The page of the demo: thumbnails, and what the repo knows of each picture."""

from datetime import datetime
from html import escape

STYLE = """
:root { color-scheme: light dark; --line: #8883; --dim: #777; --card: #8881; --accent: #336791; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem; }
h1 { font-size: 1.6rem; margin: 0; }
header p { color: var(--dim); margin: .25rem 0 1.5rem; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem; margin-bottom: 1.75rem; }
.facts div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem 1rem; }
.facts b { display: block; font-size: 1.35rem; color: var(--accent); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.1rem; }
article { border: 1px solid var(--line); border-radius: .8rem; overflow: hidden; background: var(--card); }
figure { margin: 0; height: 11rem; display: grid; place-items: center;
  background: repeating-conic-gradient(#8882 0 25%, transparent 0 50%) 0 0/20px 20px; }
figure img { max-width: 100%; max-height: 11rem; display: block; }
article h2 { font-size: .95rem; margin: .75rem .9rem .4rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .8rem; margin: 0 .9rem .9rem; font-size: .82rem; }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: .95em ui-monospace, monospace; }
.again { color: #b3541e; font-weight: 600; }
"""


def one(db, sql, *args):
    return db.execute(sql, args).fetchone()[0]


def kilobytes(size):
    return f"{size / 1024:.1f} KiB"


def moment(text):
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}" if text else "never"


def all_images(db):
    """Everything that is known of each picture, by the page."""
    slug = None
    while True:
        images, slug = db.execute("SELECT images, next FROM pictrepo.page(%s, 10)", (slug,)).fetchone()
        yield from images
        if slug is None:
            return


def card(image, names):
    details = image["details"]
    aliases = image["aliases"]
    variants = image["variants"]
    attempt = f"{details['worker']}, attempt {details['attempt']}"
    if details["attempt"] > 1:
        attempt = f'<span class="again">{attempt}, after a crash</span>'
    facts = [
        *(("alias", f"<code>{escape(alias['alias'])}</code>") for alias in aliases),
        ("hash", f"<code>{image['hash'][:18]}…</code>"),
        ("picture", f"{image['format']}, {details['width']} × {details['height']},"
                    f" {kilobytes(image['size'])}"),
        ("stored", moment(image["created_at"])),
        ("served", moment(max((alias["accessed"] or "" for alias in aliases)))),
        ("variants", escape(", ".join(v["variant"] for v in variants)) or "none"),
        ("done by", attempt),
    ]
    smallest = variants[0]["identifier"] if variants else image["identifier"]
    return (f'<article><figure><img src="store/{escape(smallest)}" alt=""></figure>'
            f"<h2>{escape(names[aliases[0]['alias']])}</h2><dl>"
            + "".join(f'<dt>{label}</dt><dd>{value}</dd>' for label, value in facts)
            + "</dl></article>")


def write(path, db, names):
    images = list(all_images(db))
    facts = [(len(images), "pictures"), (kilobytes(sum(i["size"] for i in images)), "of content"),
             (sum(len(i["variants"]) for i in images), "variants"),
             (one(db, "SELECT pictrepo.queue_length()"), "jobs left")]
    path.write_text(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>pictrepo demo</title>'
        f"<style>{STYLE}</style></head><body><header><h1>What pictrepo knows</h1>"
        f"<p>{escape(one(db, 'SELECT pictrepo.health_check()'))}</p></header>"
        '<div class="facts">' + "".join(f"<div><b>{n}</b>{what}</div>" for n, what in facts) + "</div>"
        "<main>" + "\n".join(card(image, names) for image in images) + "</main></body></html>\n",
        encoding="utf-8")
