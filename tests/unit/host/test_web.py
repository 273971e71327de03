"""The pages as they are built: nothing inline, nothing from elsewhere, and the WebAssembly in a file of its own."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import struct
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sifbuild import bundle, paths, shrink, web
from sifbuild.process import BuildError

BUILT = paths.BUILD / "web"
PAGES = [BUILT / f"{name}.html" for name in web.PAGES]
SOURCES = [path for path in paths.WEB.rglob("*") if path.suffix in {".html", ".js", ".css"}]


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
    links = Page(BUILT / "login.html").links
    assert {plain(link) for link in links} == {"assets/login.js", "assets/style.css", "assets/icon.svg", "login"}
    [script] = [link for link in links if link.endswith(".js")]
    assert "import" not in (BUILT / script).read_text()


def plain(link: str) -> str:
    """Without the hash in its name."""
    return re.sub(r"-[A-Z2-7]{8}(?=\.)", "", link)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    assert not re.search(r"https?://|@import|url\((?!#|\$\{)", path.read_text())


def test_no_page_wants_more_than_a_few_files_and_all_are_there() -> None:
    imports = re.compile(r"""(?:\bfrom|\bimport)\(?"(\./[^"]+)\"""")
    for page in PAGES:
        links = [link for link in Page(page).links if link.startswith("assets/")]
        # 25 is the promise, with what a page asks of the session.
        assert len(links) <= 15, page
        scripts = [BUILT / link for link in links if link.endswith(".js")]
        for script in scripts:
            for name in imports.findall(script.read_text()):
                assert (script.parent / name).is_file(), (script, name)
        at_once = {BUILT / "assets" / name for script in scripts for name in static_imports(script)}
        assert at_once <= set(scripts), "the browser learns of a script only when it has read another"


def static_imports(script: Path) -> list[str]:
    return re.findall(r"""(?:\bfrom|\bimport)"\./([^"]+)\"""", script.read_text())


def test_what_a_page_names_has_its_hash_in_its_name() -> None:
    for page in PAGES:
        for link in Page(page).links:
            if link.startswith("assets/"):
                assert plain(link) != link, (page, link)


def test_the_console_is_not_fetched_by_who_only_looks_at_the_status() -> None:
    """The small picture of the guest needs it, and comes when the page is there."""
    links = [BUILT / link for link in Page(BUILT / "status.html").links if link.endswith(".js")]
    assert sum(path.stat().st_size for path in links) < 40_000


def test_a_page_that_names_what_is_not_there_fails_the_build() -> None:
    page = '<link href="assets/b.css">\n<script type="module" src="assets/a.js"></script>\n'
    names = {"assets/a.js": "assets/a-AAAAAAAA.js", "assets/b.css": "assets/b-BBBBBBBB.css"}
    imports = {"assets/a-AAAAAAAA.js": ["assets/c.js"], "assets/c.js": ["assets/d.js"]}
    made = bundle.renamed(page, names, imports)
    assert re.findall(r"assets/[^\"]+", made) == [
        *("assets/b-BBBBBBBB.css", "assets/c.js", "assets/d.js", "assets/a-AAAAAAAA.js"),
    ]
    early = '<script type="module" async src="assets/c.js"></script>\n'
    both = bundle.renamed(early + page, names | {"assets/c.js": "assets/c.js"}, imports)
    assert re.findall(r"assets/[^\"]+", both) == [
        *("assets/d.js", "assets/c.js", "assets/c.js", "assets/b-BBBBBBBB.css", "assets/a-AAAAAAAA.js"),
    ]
    with pytest.raises(BuildError, match=r"assets/b\.css, which is not there"):
        bundle.renamed(page, {"assets/a.js": "x"}, {})
    with pytest.raises(BuildError, match="no script"):
        bundle.renamed("<p>", names, {})


def test_a_script_that_the_bundler_left_out_fails_the_build() -> None:
    with pytest.raises(BuildError, match=r"nothing of assets/b\.js"):
        bundle.read_metafile({"x/a-AAAAAAAA.js": {"entryPoint": "y/assets/a.js", "imports": []}}, ["assets/b.js"])


def test_the_webassembly_is_a_file_and_no_data_url() -> None:
    folder = BUILT / "assets/vendor/ironrdp"
    assert (folder / "iron-remote-desktop-rdp.wasm").read_bytes().startswith(b"\0asm\1\0\0\0")
    script = (folder / "iron-remote-desktop-rdp.js").read_text()
    assert "data:application" not in script
    assert 'import { clientFile } from "../../lib/client-file.js";' in script


def test_the_client_speaks_through_the_line_that_asks_for_true_colour() -> None:
    script = (BUILT / "assets/vendor/ironrdp/iron-remote-desktop-rdp.js").read_text()
    assert 'import { TrueColourSocket as WebSocket } from "../../lib/true-colour.js";\n' in script
    assert script.count("new WebSocket(") == 1
    for made in ("", "new WebSocket(a); new WebSocket(b)"):
        with pytest.raises(BuildError, match="makes its WebSocket in another way"):
            web.with_own_socket(made)


# Client Core Data in a Connect Initial, as IronRDP begins it: 16 bits a pixel, early capabilities 0x829.
CORE_DATA = b"\x01\xc0\xea\x00" + bytes(136) + struct.pack("<HHH", 16, 15, 0x829) + bytes(88)
HEAD = b"\x03\x00\x01\xa8\x02\xf0\x80\x7f\x65\x82\x01\x9c" + bytes(80)
ASK = """
const constants = { CLIENT_FILE: "first", CLIENT_BYTES: 1, CLIENT_REST: "rest", location: { href: "http://node/" } };
Object.assign(globalThis, { WebSocket: class {}, ...constants });
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
    module = (paths.WEB / "assets/lib/true-colour.js").as_uri()
    command = ["node", "--input-type=module", "--eval", ASK, module, message.hex()]
    told, _, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition(" ")
    assert told == str(is_it).lower()
    if is_it:
        message = message.replace(struct.pack("<HHH", 16, 15, 0x829), struct.pack("<HHH", 24, 15, 0x82B))
    assert bytes.fromhex(after.strip()) == message


def test_what_is_compressed_is_the_same_and_smaller() -> None:
    for path in (BUILT / "gzip").rglob("*.*"):
        original = BUILT / path.relative_to(BUILT / "gzip")
        assert gzip.decompress(path.read_bytes()) == original.read_bytes()
        assert path.stat().st_size < original.stat().st_size
    script = "process.stdout.write(require('node:zlib').brotliDecompressSync(require('node:fs').readFileSync(0)))"
    packed = [path for path in (BUILT / "br").rglob("*.*") if path.suffix in shrink.COMPRESSIBLE | {".html"}]
    assert len(packed) > 15
    for path in packed:
        done = subprocess.run(["node", "-e", script], input=path.read_bytes(), capture_output=True, check=True)
        assert done.stdout == (BUILT / path.relative_to(BUILT / "br")).read_bytes()


def test_the_desktops_client_goes_over_a_slow_line_in_a_quarter_of_a_minute() -> None:
    """At 300 kbit/s; without its second part, which comes later."""
    [client] = (BUILT / "br/assets").glob("client-first-*.wasm")
    page = [BUILT / "br" / link for link in Page(BUILT / "desktop.html").links if link.startswith("assets/")]
    everything = {client, BUILT / "br/desktop.html", *(path for path in page if path.is_file())}
    assert sum(path.stat().st_size for path in everything) * 8 / 300_000 < 15


@pytest.mark.parametrize("inlined", [0, 2])
def test_a_client_that_carries_its_webassembly_otherwise_is_refused(inlined: int) -> None:
    url = f'const a = "data:application/wasm;base64,{base64.b64encode(b"module").decode()}";'
    assert web.split_wasm(url)[1] == b"module"
    with pytest.raises(BuildError, match=f"{inlined} inlined"):
        web.split_wasm(url * inlined)


def test_a_client_of_another_version_than_the_profiles_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"sha256": hashlib.sha256(b"old").hexdigest(), "ran": "0"}))
    monkeypatch.setattr(web, "PROFILE", profile)
    with pytest.raises(BuildError, match="scripts/profile-client"):
        web.split_client(b"new")
    with pytest.raises(BuildError, match="cannot be taken apart: it ends too early"):
        web.split_client(b"old")


@pytest.mark.parametrize("made", ["", "WebAssembly.instantiate(a)"])
def test_a_client_that_makes_its_webassembly_otherwise_is_refused(made: str) -> None:
    with pytest.raises(BuildError, match="makes its WebAssembly in another way"):
        web.in_parts(made)
