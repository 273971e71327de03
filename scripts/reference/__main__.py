"""Print the made pages as a tar: whoever calls may write in docs/, the SIF's user perhaps not."""

import io
import sys
import tarfile
import time

from reference import pages


def main() -> None:
    """Every made page, by its name in docs/."""
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        for path, text in pages.current().items():
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mtime, entry.mode = len(text.encode()), int(time.time()), 0o644
            if not path.exists() or path.read_text() != text:
                tar.addfile(entry, io.BytesIO(text.encode()))


if __name__ == "__main__":
    main()
