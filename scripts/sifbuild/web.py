"""The web pages: our own files, the two clients that they drive, and a gzip copy beside what shrinks by it.

Nothing is bundled: the pages load ES modules by relative paths, and a portal's prefix does not matter to them.
"""

import base64
import gzip
import json
import re
import shutil
from pathlib import Path

from sifbuild import paths
from sifbuild.inputs import key
from sifbuild.process import BuildError, run
from sifbuild.stage import Stage

LOCK = [paths.WEB / "package.json", paths.WEB / "package-lock.json"]
PAGES = ("login", "status", "desktop", "console", "native")
RDP, NOVNC = "@devolutions/iron-remote-desktop-rdp", "@novnc/novnc"
COMPRESSIBLE = {".html", ".js", ".css", ".svg", ".wasm"}


class Web(Stage):
    """The folder that the gateway serves."""

    name = "web"
    what = "web pages and the clients in them"

    def key(self) -> str:
        return key([paths.WEB, paths.REPO / "LICENSE", paths.BUILDER / "web.py"])

    def make(self, target: Path) -> None:
        node = target.with_name("web-node")
        install(node, self.name, "--omit=dev")
        copy_own(target)
        vendor = target / "assets" / "vendor"
        lay_ironrdp(node / "node_modules" / RDP, vendor / "ironrdp")
        lay_novnc(node / "node_modules" / NOVNC, vendor / "novnc")
        for page in PAGES:
            name_modules(target / f"{page}.html")
        (target / "packages.json").write_text(json.dumps(versions(node / "node_modules"), indent=1) + "\n")
        compress(target)


class DevWeb(Stage):
    """What type checks and lint of the pages want. Never part of the SIF."""

    name = "dev-web"
    what = "node packages for lint"

    def key(self) -> str:
        return key(LOCK)

    def make(self, target: Path) -> None:
        install(target, self.name)


def install(folder: Path, log: str, *options: str) -> None:
    """Puts the locked packages into `folder`/node_modules, every one held to its hash, without running their code."""
    folder.mkdir()
    for path in LOCK:
        shutil.copy(path, folder)
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier")
    run(["npm", "ci", "--ignore-scripts", *quiet, *options, f"--prefix={folder}"], log)


def copy_own(target: Path) -> None:
    for page in PAGES:
        put(target / f"{page}.html", (paths.WEB / f"{page}.html").read_text())
    shutil.copytree(paths.WEB / "assets", target / "assets")


def lay_ironrdp(package: Path, target: Path) -> None:
    script, module = split_wasm((package / "iron-remote-desktop-rdp.js").read_text())
    put(target / "iron-remote-desktop-rdp.js", with_own_socket(script))
    (target / "iron-remote-desktop-rdp.wasm").write_bytes(module)
    # The package comes without the text of its licence, which is MIT or ours.
    facts = json.loads((package / "package.json").read_text())
    if "Apache-2.0" not in facts["license"]:
        raise BuildError(f"{RDP} is under {facts['license']} now; see whether that suits, and mend web.py")
    shutil.copy(paths.REPO / "LICENSE", target / "LICENSE-APACHE.txt")
    changes = "Changed: its WebAssembly has a file of its own, and its WebSocket is true-colour.js."
    told = f"{RDP} {facts['version']}, {facts['homepage']}\nLicence: {facts['license']}\n{changes}\n"
    put(target / "README.txt", told)


INLINE = re.compile(r'"data:application/wasm;base64,([A-Za-z0-9+/=]+)"')


def split_wasm(script: str) -> tuple[str, bytes]:
    """Takes the WebAssembly out of its data: URL, to a file beside the script.

    So it is a quarter smaller, is compiled while it arrives, and the pages' policy needs to allow no data: URL.
    """
    found = INLINE.findall(script)
    if len(found) != 1:
        raise BuildError(f"{RDP} has {len(found)} inlined WebAssembly modules, not one; see how it loads it now")
    script = INLINE.sub('new URL("iron-remote-desktop-rdp.wasm", import.meta.url)', script)
    return script, base64.b64decode(found[0], validate=True)


SOCKET = re.compile(r"\bnew WebSocket\(")


def with_own_socket(script: str) -> str:
    """Lets the client speak through our own line, which asks for true colour (assets/lib/true-colour.js)."""
    if len(SOCKET.findall(script)) != 1:
        raise BuildError(f"{RDP} makes its WebSocket in another way; see how, and whether it asks for 32 bits now")
    return 'import { TrueColourSocket as WebSocket } from "../../lib/true-colour.js";\n' + script


def lay_novnc(package: Path, target: Path) -> None:
    for part in ("core", "vendor/pako"):
        shutil.copytree(package / part, target / part)
    for path in (package / "LICENSE.txt", package / "AUTHORS", *(package / "docs").glob("LICENSE.*")):
        shutil.copy(path, target)


SCRIPT = re.compile(r'^ *<script type="module" src="([^"]+)"></script>\n', re.MULTILINE)
IMPORT = re.compile(r"""^\s*(?:import|export)\b[^;'"]*?\bfrom\s*["']([^"']+)["']""", re.MULTILINE)


def name_modules(page: Path) -> None:
    """Names in the page all modules that its script will want, so that the browser fetches them at once.

    Otherwise it learns of each only when it has read the one that imports it: a round trip for each step of the way.
    """
    text = page.read_text()
    script = SCRIPT.search(text)
    if not script:
        raise BuildError(f"{page.name} has no script as a module")
    links = [f'    <link rel="modulepreload" href="{name}">\n' for name in needed(page.parent, script[1])]
    page.write_text(text[: script.start()] + "".join(links) + text[script.start() :])


def needed(folder: Path, script: str) -> list[str]:
    """All that `script` imports, and what that imports in turn, in the order of discovery."""
    found, left = [script], [script]
    while left:
        path = folder / left.pop(0)
        for name in IMPORT.findall(path.read_text()):
            module = (path.parent / name).resolve().relative_to(folder.resolve()).as_posix()
            if module not in found:
                found.append(module)
                left.append(module)
    return found[1:]


def versions(modules: Path) -> dict[str, str]:
    """Name and version of every package that was installed."""
    facts = [json.loads(path.read_text()) for path in sorted(modules.glob("@*/*/package.json"))]
    return {fact["name"]: fact["version"] for fact in facts}


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def compress(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.suffix in COMPRESSIBLE:
            content = path.read_bytes()
            packed = gzip.compress(content, 9, mtime=0)
            if len(packed) < len(content):
                path.with_name(f"{path.name}.gz").write_bytes(packed)
