"""doc/workers.md with the workers as they are in examples/worker: each block of code under a link is that file."""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent


def with_file(match):
    code = (HERE / match["path"]).read_text()
    return f"{match['link']}\n\n```{match['language']}\n{code}```\n"


print(re.sub(r"^(?P<link>\[`[^`]+`\]\((?P<path>[^)]+)\):)\n\n```(?P<language>\w+)\n.*?^```\n", with_file,
             (HERE / "workers.md").read_text(), flags=re.M | re.S), end="")
