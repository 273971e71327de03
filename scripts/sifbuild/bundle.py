"""Scripts of the pages as they are loaded: one for each page and what several share, named by their hashes.

noVNC's modules alone were 60 requests, each of them a round trip on a slow line; a name with a hash is kept for ever.
"""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sifbuild.process import BuildError, run

# Alone, because nothing else is served to those who are not in yet.
ALONE = "login"
# By this name it is found from an address that lacks its slash, before any page is read.
UNNAMED = "assets/slash.js"
# Beside a page's own script, and before it.
BESIDE = "assets/beginning.js"
CLIENT, REST = (f"assets/vendor/ironrdp/client-{part}.wasm" for part in ("first", "rest"))
STYLE, ICON = "assets/style.css", "assets/icon.svg"
LINK = re.compile(r'(?<=")assets/[A-Za-z0-9._/-]+(?=")')
SCRIPT = re.compile(r'^ *<script type="module"(?: async)? src="([^"]+)"></script>\n', re.MULTILINE)


@dataclass(frozen=True)
class Scripts:
    """What became of the scripts: their new names, and the others that each has at its head, by the new names."""

    names: dict[str, str]
    imports: dict[str, list[str]]


def bundle(node: Path, source: Path, target: Path, pages: Sequence[str]) -> None:
    """Puts into `target` what `pages` need of `source`, and the pages, which name it."""
    (target / "assets").mkdir(parents=True)
    names = {name: copy_by_hash(source, target, name) for name in (ICON, CLIENT, REST)}
    facts: dict[str, str | int] = {
        "CLIENT_FILE": Path(names[CLIENT]).name,
        "CLIENT_BYTES": (source / CLIENT).stat().st_size,
        "CLIENT_REST": Path(names[REST]).name,
        "PAGES_VERSION": version(source),
    }
    (target / "version").write_text(f"{facts['PAGES_VERSION']}\n")
    shared = [f"assets/{page}.js" for page in pages if page != ALONE]
    scripts = [
        esbuild(node, source, target, [*shared, BESIDE, STYLE], facts, "--splitting"),
        esbuild(node, source, target, [f"assets/{ALONE}.js"], facts),
    ]
    shutil.copy(source / UNNAMED, target / UNNAMED)
    imports: dict[str, list[str]] = {}
    for made in scripts:
        names |= made.names
        imports |= made.imports
    for page in pages:
        text = (source / f"{page}.html").read_text()
        (target / f"{page}.html").write_text(renamed(text, names, imports))


def version(source: Path) -> str:
    """A name of all that the pages are made of: by it a page knows whether the gateway that it talks to is its own."""
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(source)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def copy_by_hash(source: Path, target: Path, name: str) -> str:
    """Copies a file to a name of esbuild's form, by which the gateway knows what never changes."""
    content = (source / name).read_bytes()
    mark = base64.b32encode(hashlib.sha256(content).digest())[:8].decode()
    path = Path(name)
    made = f"assets/{path.stem}-{mark}{path.suffix}"
    (target / made).write_bytes(content)
    return made


def esbuild(
    node: Path, source: Path, target: Path, entries: Sequence[str], facts: Mapping[str, str | int], *options: str
) -> Scripts:
    """Bundles the scripts and styles `entries`; `facts` are constants in them."""
    told = target.with_name("web-bundle.json")
    command: list[str | Path] = [
        *(node / "node_modules/.bin/esbuild", *(source / entry for entry in entries)),
        *("--bundle", "--minify", "--format=esm", "--target=es2022", "--charset=utf8", "--log-level=warning"),
        *("--entry-names=[name]-[hash]", "--chunk-names=[name]-[hash]", f"--outdir={target / 'assets'}"),
        *(f"--define:{name}={json.dumps(value)}" for name, value in facts.items()),
        *(f"--metafile={told}", *options),
    ]
    run(command, "web")
    return read_metafile(json.loads(told.read_text())["outputs"], entries)


def read_metafile(outputs: Mapping[str, Mapping[str, object]], entries: Sequence[str]) -> Scripts:
    """What esbuild says that it made; its paths are from where it ran."""
    names: dict[str, str] = {}
    imports: dict[str, list[str]] = {}
    for path, facts in outputs.items():
        made = f"assets/{Path(path).name}"
        names |= {name: made for name in entries if str(facts.get("entryPoint", "")).endswith(f"/{name}")}
        imports[made] = [f"assets/{Path(name).name}" for name in static_imports(facts)]
    if missing := set(entries) - set(names):
        raise BuildError(f"esbuild made nothing of {', '.join(sorted(missing))}")
    return Scripts(names, imports)


def static_imports(facts: Mapping[str, object]) -> list[str]:
    """What a script has at its head: not what it asks for only when it wants it."""
    found = facts.get("imports", [])
    assert isinstance(found, list)
    return [each["path"] for each in found if each["kind"] == "import-statement"]


def renamed(page: str, names: Mapping[str, str], imports: Mapping[str, Sequence[str]]) -> str:
    """The page with the new names, and all that its script will want, so that the browser fetches it at once.

    Otherwise it learns of each only when it has read the one that imports it: a round trip for each step of the way.
    """

    def new(link: re.Match[str]) -> str:
        if link[0] not in names:
            raise BuildError(f"a page wants {link[0]}, which is not there")
        return names[link[0]]

    page = LINK.sub(new, page)
    scripts = list(SCRIPT.finditer(page))
    if not scripts:
        raise BuildError("a page has no script as a module")
    wanted = dict.fromkeys(name for script in scripts for name in needed(script[1], imports))
    links = [f'    <link rel="modulepreload" href="{name}">\n' for name in wanted]
    first = scripts[0].start()
    return page[:first] + "".join(links) + page[first:]


def needed(script: str, imports: Mapping[str, Sequence[str]]) -> list[str]:
    """All that `script` imports, and what that imports in turn, in the order of discovery."""
    found, left = [script], [script]
    while left:
        for name in imports.get(left.pop(0), ()):
            if name not in found:
                found.append(name)
                left.append(name)
    return found[1:]
