"""Appliances as other tools write them: names, digests, encodings, side files; and what only pretends to be one."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import resource
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sevenlbd.base.errors import Refusal
from sevenlbd.images import formats
from sevenlbd.images.importing import archive, importer, ova, source
from test_importer import ovf
from test_whole import made, same, silent

MIB = 1 << 20
NAME = "disk.vmdk"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ova") / "disk.raw"
    head = bytearray(4 * MIB)
    head[510:512], head[450] = b"\x55\xaa", 0x83
    head[454:462] = (2048).to_bytes(4, "little") * 2
    head[MIB : 2 * MIB] = os.urandom(MIB)
    path.write_bytes(head)
    return path


@pytest.fixture(scope="module")
def stream(raw: Path) -> bytes:
    """The disk as exports have it."""
    return made(raw, raw.parent, "stream.vmdk")[0].read_bytes()


def described(href: str = NAME, file: str = "", disk: str = "") -> str:
    """A description of one disk."""
    return ovf(
        disks=f'<Disk fileRef="f1" diskId="d" ovf:capacity="4" ovf:capacityAllocationUnits="byte * 2^20" {disk}/>',
        files=f'<File id="f1" href="{href}" {file}/>',
    )


def packed(folder: Path, *members: tuple[str, bytes], form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(folder / "a.ova", "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return folder / "a.ova"


def imported(path: Path, folder: Path) -> Path:
    folder.mkdir()
    with source.opened(path, "") as disk:
        importer.fill(folder, disk, importer.ImportOptions("x", "1", compress=False, given={}), silent)
    assert sorted(file.name for file in folder.iterdir()) == ["disk.qcow2", "image.toml"]
    return folder / "disk.qcow2"


@pytest.mark.parametrize(
    ("href", "member"),
    [
        ("my%20disk%C3%A4.vmdk", "my diskä.vmdk"),
        ("my disk.vmdk", "my disk.vmdk"),
        ("100%.vmdk", "100%.vmdk"),
        ("./disk.vmdk", "disk.vmdk"),
        ("disk.vmdk", "./disk.vmdk"),
    ],
)
def test_names_are_found_as_they_are_and_as_a_uri_has_them(
    raw: Path, stream: bytes, tmp_path: Path, href: str, member: str
) -> None:
    path = packed(tmp_path, ("./a.ovf", described(href).encode()), (member, stream))
    same(raw, imported(path, tmp_path / "v"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_macos_and_others_leave_in_an_archive_is_passed_over(
    raw: Path, stream: bytes, tmp_path: Path, form: int
) -> None:
    """Packed again from a folder, with side files beside each file, and the disk before its description."""
    path = packed(
        tmp_path,
        ("._box", b"x"),
        ("box/._a.ovf", b"\0\5\x16\7"),
        ("box/" + NAME, stream),
        ("box/._" + NAME, b"x"),
        ("box/a.ovf", described().encode()),
        ("box/.DS_Store", b"x"),
        ("__MACOSX/box/._a.ovf", b"x"),
        ("PaxHeaders.17/a.ovf", b"x"),
        form=form,
    )
    with tarfile.open(path, "a", format=form) as tar:
        folder = tarfile.TarInfo("box/" if form != tarfile.GNU_FORMAT else "./")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    same(raw, imported(path, tmp_path / "v"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_description_is_read_in_every_encoding_of_unicode(
    raw: Path, stream: bytes, tmp_path: Path, encoding: str
) -> None:
    declared = "UTF-16" if "16" in encoding else "UTF-8"
    text = described("dísk.vmdk").replace('version="1.0"', f'version="1.0" encoding="{declared}"')
    path = packed(tmp_path, ("a.ovf", text.encode(encoding)), ("dísk.vmdk", stream))
    same(raw, imported(path, tmp_path / "v"))


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("line", ["{a}({n})= {d}\n", "{a} ({n}) = {d}\r\n"])
@pytest.mark.parametrize("altered", ["", "a.ovf", NAME])
def test_the_digests_of_an_export_are_honoured(
    raw: Path, stream: bytes, tmp_path: Path, algorithm: str, line: str, altered: str
) -> None:
    files = {"a.ovf": described().encode(), NAME: stream}
    manifest = "".join(
        line.format(a=algorithm.upper(), n=name, d=hashlib.new(algorithm, content).hexdigest())
        for name, content in files.items()
    )
    if altered:
        files[altered] = files[altered].replace(
            b"3072" if altered == "a.ovf" else stream[-9000:-8990], b"4096444444"[: 4 if altered == "a.ovf" else 10], 1
        )
    path = packed(tmp_path, *files.items(), ("a.mf", manifest.encode()))
    if not altered:
        same(raw, imported(path, tmp_path / "v"))
        return
    with pytest.raises(Refusal, match=f"`{altered}` in it was altered, or damaged: its {algorithm} digest"):
        imported(path, tmp_path / "v")


def test_a_digest_of_what_is_not_there_is_refused(stream: bytes, tmp_path: Path) -> None:
    path = packed(tmp_path, ("a.ovf", described().encode()), (NAME, stream), ("a.mf", b"SHA1(gone.vmdk)= 00\n"))
    with pytest.raises(Refusal, match=r"lists `gone\.vmdk`, which is not in it"):
        imported(path, tmp_path / "v")


def test_a_disk_that_is_compressed_or_in_chunks_is_put_together(raw: Path, stream: bytes, tmp_path: Path) -> None:
    ways = {
        "gz": (described(file='ovf:compression="gzip"'), [(NAME, gzip.compress(stream))]),
        "twice": (
            described(file='ovf:compression="gzip"'),
            [(NAME, gzip.compress(stream[:5000]) + gzip.compress(stream[5000:]) + bytes(512))],
        ),
        "chunks": (
            described(file='ovf:chunkSize="1000000"'),
            [(f"{NAME}.{n:09d}", stream[n * 1_000_000 :][:1_000_000]) for n in range(-(-len(stream) // 1_000_000))],
        ),
        "both": (
            described(file='ovf:chunkSize="9" ovf:compression="gzip"'),
            [(f"{NAME}.000000000", gzip.compress(stream)[:90]), (f"{NAME}.000000001", gzip.compress(stream)[90:])],
        ),
    }
    for name, (text, parts) in ways.items():
        path = packed(tmp_path, ("a.ovf", text.encode()), *parts)
        same(raw, imported(path, tmp_path / name))


def test_a_bomb_ends_where_a_disk_of_its_size_would(stream: bytes, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(120 * MIB))
    path = packed(tmp_path, ("a.ovf", described(file='ovf:compression="gzip"').encode()), (NAME, bomb))
    with pytest.raises(Refusal, match="unpacks to more than"):
        imported(path, tmp_path / "v")
    path = packed(
        tmp_path, ("a.ovf", described(file='ovf:compression="gzip"').encode()), (NAME, gzip.compress(stream)[:-9])
    )
    with pytest.raises(Refusal, match="is truncated"):
        imported(path, tmp_path / "w")
    path = packed(tmp_path, ("a.ovf", described(file='ovf:compression="gzip"').encode()), (NAME, b"no gzip"))
    with pytest.raises(Refusal, match="is not what gzip makes"):
        imported(path, tmp_path / "x")


def test_of_several_disks_all_are_named(stream: bytes, tmp_path: Path) -> None:
    text = ovf(
        disks='<Disk fileRef="f1"/><Disk fileRef="f2"/><Disk diskId="empty" ovf:capacity="9"/>',
        files='<File id="f1" href="one.vmdk"/><File id="f2" href="two.vmdk"/>',
    )
    path = packed(tmp_path, ("a.ovf", text.encode()), ("one.vmdk", stream), ("two.vmdk", stream))
    with pytest.raises(Refusal, match=r"names 2 disks \(one\.vmdk, two\.vmdk\)") as caught:
        imported(path, tmp_path / "v")
    assert "tar xf" in caught.value.hint


@contextmanager
def little_memory() -> Iterator[None]:
    """No more than a quarter of a GiB beyond what there is."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def archive_of(path: Path, *parts: bytes, length: int = 0) -> Path:
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        file.truncate(max(length, file.tell()))
    return path


@pytest.mark.parametrize(
    ("parts", "length"),
    [
        ([header("x", tarfile.XHDTYPE, 8 << 30)], 9 << 30),
        ([header("x", tarfile.GNUTYPE_LONGNAME, 8 << 30)], 9 << 30),
        ([header("x", tarfile.XGLTYPE, 1 << 62)], 1 << 20),
        ([header("x", tarfile.GNUTYPE_LONGNAME, 512) + b"a" * 512] * 3000, 0),
        ([header("x", tarfile.XHDTYPE, 512) + b"9 a=bcde\n".ljust(512, b"\n")] * 3000, 0),
        ([header(f"f{n}", tarfile.REGTYPE, 0) for n in range(20_000)], 0),
        ([header("a" * 90 + str(n % 2), tarfile.DIRTYPE, 0) for n in range(20_000)], 0),
        ([header("x", tarfile.GNUTYPE_SPARSE, 1 << 40)], 1 << 20),
        ([header("a.ovf", tarfile.REGTYPE, 1 << 40)], 1 << 20),
    ],
)
def test_what_an_archive_claims_costs_neither_memory_nor_a_traceback(
    tmp_path: Path, parts: list[bytes], length: int
) -> None:
    path = archive_of(tmp_path / "a.ova", *parts, length=length)
    with little_memory(), pytest.raises(Refusal):
        ova.read(formats.piece(path))


def test_a_text_that_grows_or_nests_without_end_is_refused(tmp_path: Path) -> None:
    entity = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    for text in (
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "a">{entity}]><x>&a11;</x>'.encode(),
        b"<x>" * 300_000,
        b"<x " + b"a" * 900_000 + b">",
        b"<?xml version='1.0' encoding='utf-16'?><x/>",
        b"\xff\xfe<",
        b"",
    ):
        with little_memory(), pytest.raises(Refusal):
            ova.read(formats.piece(packed(tmp_path, ("a.ovf", text))))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"SHA1(a.ovf)= {text}".encode()))
def test_no_manifest_is_more_than_refused(tmp_path: Path, manifest: bytes) -> None:
    path = packed(tmp_path, ("a.ovf", described().encode()), (NAME, b"x"), ("a.mf", manifest))
    with suppress(Refusal):
        members = archive.members(formats.piece(path))
        archive.digests(formats.piece(path), members, "a.ovf")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600))
def test_no_description_is_more_than_refused(tmp_path: Path, text: bytes) -> None:
    for content in (text, described().encode()[:-40] + text):
        with suppress(Refusal):
            ova.read(formats.piece(packed(tmp_path, ("a.ovf", content), (NAME, b"x"))))
