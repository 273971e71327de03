"""Compressed copies of what the gateway serves, made once, so that it compresses nothing.

Each coding has a folder of its own, `br` and `gzip`, in which the files have their own names: the gateway says which is
sent, and aiohttp, which would look for `.br` beside a file whatever a browser thinks of it, finds none.
"""

import gzip
import json
from pathlib import Path

from sifbuild.process import run

COMPRESSIBLE = {".js", ".css", ".svg", ".wasm"}
# Of Node, which is there for npm anyway; nothing of ours runs in it but these lines. Highest quality, and a window of
# 16 MB (RFC 7932, 9.1): all of the client is in sight of itself.
BROTLI = """
const { readFileSync, writeFileSync } = require("node:fs");
const { brotliCompressSync, constants } = require("node:zlib");
for (const [path, packed] of JSON.parse(process.argv[1])) {
  const content = readFileSync(path);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
  };
  writeFileSync(packed, brotliCompressSync(content, { params }));
}
"""


def compress(folder: Path) -> None:
    """Makes a copy in each coding of all pages and assets that shrink by it."""
    names = [path.name for path in sorted(folder.glob("*.html"))]
    names += [f"assets/{path.name}" for path in sorted((folder / "assets").iterdir()) if path.suffix in COMPRESSIBLE]
    for coding in ("br", "gzip"):
        (folder / coding / "assets").mkdir(parents=True)
    for name in names:
        (folder / "gzip" / name).write_bytes(gzip.compress((folder / name).read_bytes(), 9, mtime=0))
    pairs = [(str(folder / name), str(folder / "br" / name)) for name in names]
    run(["node", "-e", BROTLI, json.dumps(pairs)], "web")
    for name in names:
        for coding in ("br", "gzip"):
            packed = folder / coding / name
            if packed.stat().st_size >= (folder / name).stat().st_size:
                packed.unlink()
