"""The file store of the demo, and what ImageMagick says of a file.

An identifier is a path in the store. Two files never share one, so removing a
file can never take another one along.
"""

import subprocess
import uuid
from pathlib import Path

# What ImageMagick calls a format: pictrepo's name, pict-rs's details, media type
FORMATS = {
    "JPEG": ("jpeg", {"Image": "jpeg"}, "image/jpeg"),
    "PNG": ("png", {"Image": "png"}, "image/png"),
    "WEBP": ("webp", {"Image": "webp"}, "image/webp"),
    "GIF": ("gif", {"Animation": "gif"}, "image/gif"),
}


class NotAPicture(Exception):
    """The file is none of the formats above."""


class Store:
    def __init__(self, root):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)

    def new_identifier(self, suffix):
        name = uuid.uuid4().hex
        return f"{name[:2]}/{name[2:]}{suffix.lower()}"

    def path(self, identifier):
        return self.root / identifier

    def put(self, data, suffix):
        identifier = self.new_identifier(suffix)
        self.path(identifier).parent.mkdir(exist_ok=True)
        self.path(identifier).write_bytes(data)
        return identifier

    def read(self, identifier):
        return self.path(identifier).read_bytes()

    def remove(self, identifier):
        self.path(identifier).unlink(missing_ok=True)

    def files(self):
        return {str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()}


def look_at(path):
    """Format, width, height and number of frames of a picture."""
    result = subprocess.run(
        ["identify", "-ping", "-format", "%m %w %h %n\n", str(path)],
        capture_output=True, text=True)
    words = result.stdout.split()
    if result.returncode != 0 or len(words) < 4 or words[0] not in FORMATS:
        raise NotAPicture(f"{path.name} is no picture that this demo knows")
    return words[0], int(words[1]), int(words[2]), int(words[3])


def thumbnail(path, size):
    """A JPEG of the picture that fits into a square of that size."""
    result = subprocess.run(
        ["convert", f"{path}[0]", "-auto-orient", "-thumbnail", f"{size}x{size}>",
         "-background", "white", "-flatten", "jpeg:-"],
        capture_output=True)
    # It complains about a damaged file, too, of which it showed what is there.
    if not result.stdout:
        raise NotAPicture(f"{path.name} cannot be shown")
    return result.stdout
