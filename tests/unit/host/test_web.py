"""The pages as they are built: nothing inline, nothing from elsewhere, and the WebAssembly in a file of its own."""

from __future__ import annotations

import base64
import gzip
import re
import struct
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sifbuild import paths, web
from sifbuild.process import BuildError

BUILT = paths.BUILD / "web"
PAGES = [BUILT / f"{name}.html" for name in web.PAGES]
OWN = [path for path in BUILT.rglob("*") if path.suffix in {".html", ".js", ".css"} and "vendor" not in path.parts]


class Page(HTMLParser):
    """What a page refers to, its ids, and what a strict policy would refuse."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[name] or "" for name in ("href", "src", "action") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        self.inline += [name for name in found if name == "style" or name.startswith("on")]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in found) else []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_nothing_inline_and_only_links_to_what_is_beside_it(path: Path) -> None:
    page = Page(path)
    assert not page.inline
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert not link.startswith(("/", "http", "data:", "//")), link
        if link.startswith("assets/"):
            assert (BUILT / link).is_file(), link


def test_who_is_not_in_yet_gets_only_the_login_pages_own_files() -> None:
    open_to_all = {"assets/login.js", "assets/style.css", "assets/icon.svg", "login"}
    assert set(Page(BUILT / "login.html").links) == open_to_all
    assert "import" not in re.sub(r"^//.*", "", (BUILT / "assets/login.js").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    assert not re.search(r"https?://|@import|url\((?!#|\$\{)", path.read_text())


def test_every_module_that_is_imported_is_there() -> None:
    scripts = list((BUILT / "assets").rglob("*.js"))
    assert len(scripts) > 40
    for script in scripts:
        code = re.sub(r"/\*.*?\*/", "", script.read_text(), flags=re.DOTALL)
        for name in re.findall(r"""^\s*(?:import|export)\b[^;'"]*?from\s*["']([^"']+)["']""", code, flags=re.MULTILINE):
            assert (script.parent / name).is_file(), (script, name)


def test_a_page_names_the_modules_that_it_will_want() -> None:
    def named(page: str) -> set[str]:
        links = Page(BUILT / f"{page}.html").links
        return {link.removeprefix("assets/") for link in links if link.endswith(".js")}

    assert named("login") == {"login.js"}
    assert named("status") == {"status.js", "login.js", "lib/dom.js", "lib/session.js", "lib/backoff.js"}
    assert {"console.js", "lib/guest-screen.js", "vendor/novnc/core/rfb.js"} < named("console")
    assert "vendor/novnc/vendor/pako/lib/zlib/inflate.js" in named("console")
    assert {"desktop.js", "lib/rdp.js", "vendor/ironrdp/iron-remote-desktop-rdp.js"} < named("desktop")


def test_a_module_that_is_not_there_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/a.js").write_text('import { b } from "./lib/b.js";\n')
    page = tmp_path / "a.html"
    page.write_text('<script type="module" src="assets/a.js"></script>\n')
    with pytest.raises(OSError, match=r"b\.js"):
        web.name_modules(page)


def test_the_webassembly_is_a_file_and_no_data_url() -> None:
    folder = BUILT / "assets/vendor/ironrdp"
    assert (folder / "iron-remote-desktop-rdp.wasm").read_bytes().startswith(b"\0asm\1\0\0\0")
    script = (folder / "iron-remote-desktop-rdp.js").read_text()
    assert "data:application" not in script
    assert 'new URL("iron-remote-desktop-rdp.wasm", import.meta.url)' in script


def test_the_client_speaks_through_the_line_that_asks_for_true_colour() -> None:
    script = (BUILT / "assets/vendor/ironrdp/iron-remote-desktop-rdp.js").read_text()
    assert script.startswith('import { TrueColourSocket as WebSocket } from "../../lib/true-colour.js";\n')
    assert script.count("new WebSocket(") == 1
    assert "assets/lib/true-colour.js" in Page(BUILT / "desktop.html").links
    for made in ("", "new WebSocket(a); new WebSocket(b)"):
        with pytest.raises(BuildError, match="makes its WebSocket in another way"):
            web.with_own_socket(made)


# Client Core Data in a Connect Initial, as IronRDP begins it: 16 bits a pixel, early capabilities 0x829.
CORE_DATA = b"\x01\xc0\xea\x00" + bytes(136) + struct.pack("<HHH", 16, 15, 0x829) + bytes(88)
HEAD = b"\x03\x00\x01\xa8\x02\xf0\x80\x7f\x65\x82\x01\x9c" + bytes(80)
ASK = """
globalThis.WebSocket = class {};
const { askForTrueColour } = await import(process.argv[1]);
const message = Buffer.from(process.argv[2], "hex");
console.log(askForTrueColour(message), message.toString("hex"));
"""


@pytest.mark.parametrize(
    ("message", "is_it"),
    [
        (HEAD + b"Duca\x81\x2a" + CORE_DATA, True),
        (HEAD + b"Duca\x2a" + CORE_DATA, True),
        (HEAD + b"McDn\x81\x2a" + CORE_DATA, False),
        (HEAD[:7] + b"\x30" + HEAD[8:] + b"Duca\x2a" + CORE_DATA, False),
        (HEAD + b"Duca\x2a" + CORE_DATA[:145], False),
        (HEAD + b"Duca", False),
        (b"", False),
    ],
)
def test_that_line_changes_two_fields_of_one_message(message: bytes, is_it: bool) -> None:
    module = (BUILT / "assets/lib/true-colour.js").as_uri()
    command = ["node", "--input-type=module", "--eval", ASK, module, message.hex()]
    told, _, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition(" ")
    assert told == str(is_it).lower()
    if is_it:
        message = message.replace(struct.pack("<HHH", 16, 15, 0x829), struct.pack("<HHH", 24, 15, 0x82B))
    assert bytes.fromhex(after.strip()) == message


def test_what_is_compressed_is_the_same_and_smaller() -> None:
    packed = list(BUILT.rglob("*.gz"))
    assert len(packed) > 40
    for path in packed:
        original = path.with_suffix("")
        assert gzip.decompress(path.read_bytes()) == original.read_bytes()
        assert path.stat().st_size < original.stat().st_size


@pytest.mark.parametrize("inlined", [0, 2])
def test_a_client_that_carries_its_webassembly_otherwise_is_refused(inlined: int) -> None:
    url = f'const a = "data:application/wasm;base64,{base64.b64encode(b"module").decode()}";'
    assert web.split_wasm(url)[1] == b"module"
    with pytest.raises(BuildError, match=f"{inlined} inlined"):
        web.split_wasm(url * inlined)
