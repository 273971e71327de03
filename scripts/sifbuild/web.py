"""The web pages: our own files and the two clients that they drive, as few and as small as a slow line wants them.

`bundle.py` makes one script of many and gives each a name with its hash; `shrink.py` lays what is compressed beside it.
The pages name what is beside them by relative paths, so a portal's prefix does not matter to them.
"""

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

from sifbuild import bundle, paths, shrink, wasm
from sifbuild.inputs import key
from sifbuild.process import BuildError, run
from sifbuild.stage import Stage

LOCK = [paths.WEB / "package.json", paths.WEB / "package-lock.json"]
PROFILE = paths.WEB / "client-profile.json"
PAGES = ("login", "status", "desktop", "console", "native", "pool")
RDP, NOVNC = "@devolutions/iron-remote-desktop-rdp", "@novnc/novnc"


class Web(Stage):
    """The folder that the gateway serves."""

    name = "web"
    what = "web pages and the clients in them"

    def key(self) -> str:
        steps = [paths.BUILDER / name for name in ("web.py", "wasm.py", "bundle.py", "shrink.py")]
        return key([paths.WEB, paths.REPO / "LICENSE", *steps])

    def make(self, target: Path) -> None:
        node, source = target.with_name("web-node"), target.with_name("web-source")
        install(node, self.name, "--omit=dev")
        copy_own(source)
        vendor = source / "assets" / "vendor"
        lay_ironrdp(node / "node_modules" / RDP, vendor / "ironrdp")
        lay_novnc(node / "node_modules" / NOVNC, vendor / "novnc")
        bundle.bundle(node, source, target, PAGES)
        keep_vendor(vendor, target / "assets" / "vendor")
        (target / "packages.json").write_text(json.dumps(versions(node / "node_modules"), indent=1) + "\n")
        shrink.compress(target)


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
    put(target / "iron-remote-desktop-rdp.js", in_parts(with_own_socket(script)))
    (target / "iron-remote-desktop-rdp.wasm").write_bytes(module)
    for part, content in zip(("first", "rest"), split_client(module), strict=True):
        (target / f"client-{part}.wasm").write_bytes(content)
    # The package comes without the text of its licence, which is MIT or ours.
    facts = json.loads((package / "package.json").read_text())
    if "Apache-2.0" not in facts["license"]:
        raise BuildError(f"{RDP} is under {facts['license']} now; see whether that suits, and mend web.py")
    shutil.copy(paths.REPO / "LICENSE", target / "LICENSE-APACHE.txt")
    changes = "Changed: its WebAssembly has files of its own, in two parts, and its WebSocket is true-colour.js."
    told = f"{RDP} {facts['version']}, {facts['homepage']}\nLicence: {facts['license']}\n{changes}\n"
    put(target / "README.txt", told)


INLINE = re.compile(r'"data:application/wasm;base64,([A-Za-z0-9+/=]+)"')


def split_wasm(script: str) -> tuple[str, bytes]:
    """Takes the WebAssembly out of its data: URL, to a file beside the script.

    So it is a quarter smaller, is compiled while it arrives, and the pages' policy needs to allow no data: URL. Where
    it comes from, and how much of it is there, is for our own script (assets/lib/client-file.js).
    """
    found = INLINE.findall(script)
    if len(found) != 1:
        raise BuildError(f"{RDP} has {len(found)} inlined WebAssembly modules, not one; see how it loads it now")
    script = 'import { clientFile } from "../../lib/client-file.js";\n' + INLINE.sub("clientFile", script)
    return script, base64.b64decode(found[0], validate=True)


SOCKET = re.compile(r"\bnew WebSocket\(")


def with_own_socket(script: str) -> str:
    """Lets the client speak through our own line, which asks for true colour (assets/lib/true-colour.js)."""
    if len(SOCKET.findall(script)) != 1:
        raise BuildError(f"{RDP} makes its WebSocket in another way; see how, and whether it asks for 32 bits now")
    return 'import { TrueColourSocket as WebSocket } from "../../lib/true-colour.js";\n' + script


MAKING = re.compile(r"\bWebAssembly\.(?=instantiate(?:Streaming)?\()")


def in_parts(script: str) -> str:
    """Lets the client be made of its two parts (assets/lib/client-parts.js)."""
    if len(MAKING.findall(script)) != 3:
        raise BuildError(f"{RDP} makes its WebAssembly in another way; see how, and mend web.py")
    return 'import { clientParts } from "../../lib/client-parts.js";\n' + MAKING.sub("clientParts.", script)


def split_client(module: bytes) -> tuple[bytes, bytes]:
    """What every visit runs, and the rest, by the profile of just this client."""
    profile = json.loads(PROFILE.read_text())
    if hashlib.sha256(module).hexdigest() != profile["sha256"]:
        raise BuildError(f"{PROFILE.name} is of another {RDP}: make it anew, by scripts/profile-client")
    try:
        return wasm.split(module, wasm.unranged(profile["ran"]))
    except wasm.NotSplit as error:
        raise BuildError(f"{RDP} cannot be taken apart: {error}") from error


def lay_novnc(package: Path, target: Path) -> None:
    for part in ("core", "vendor/pako"):
        shutil.copytree(package / part, target / part)
    for path in (package / "LICENSE.txt", package / "AUTHORS", *(package / "docs").glob("LICENSE.*")):
        shutil.copy(path, target)
    facts = json.loads((package / "package.json").read_text())
    # MPL 2.0, 3.2: who gets it in another form is told where its source is.
    told = "Changed: bundled and without white space. Its source is the npm package of this name and version."
    put(target / "README.txt", f"{NOVNC} {facts['version']}\nLicence: {facts['license']}\n{told}\n")


def keep_vendor(source: Path, target: Path) -> None:
    """Lays down licences, and the RDP client as it came: `accept` runs it without a browser. No page loads these."""
    shutil.copytree(source / "ironrdp", target / "ironrdp", ignore=shutil.ignore_patterns("client-*"))
    ignored = shutil.ignore_patterns("*.js", "*.json")
    shutil.copytree(source / "novnc", target / "novnc", ignore=ignored)


def versions(modules: Path) -> dict[str, str]:
    """Name and version of each client in the pages; what only made them is not in them."""
    facts = [json.loads((modules / name / "package.json").read_text()) for name in (RDP, NOVNC)]
    return {fact["name"]: fact["version"] for fact in facts}


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
