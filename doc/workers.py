"""Prints doc/workers.md with the files of the workers as they are now.

On the page, a line with a link, [`NAME`](DIRECTORIES/LANGUAGE/NAME): stands before each block of code. The
block becomes that file, and the link leads to WORKERS/LANGUAGE/NAME.
"""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKERS = "../examples/worker"

BLOCK = re.compile(r"^\[`(?P<name>[^`]+)`\]\((?:[^)]*/)?(?P<language>[^/)]+)/(?P=name)\):\n\n"
                   r"```(?P<syntax>\w+)\n.*?^```\n", re.M | re.S)


def with_file(block):
    path = f"{WORKERS}/{block['language']}/{block['name']}"
    code = (HERE / path).read_text()
    return f"[`{block['name']}`]({path}):\n\n```{block['syntax']}\n{code}```\n"


print(BLOCK.sub(with_file, (HERE / "workers.md").read_text()), end="")
