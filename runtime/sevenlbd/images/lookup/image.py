"""From what the user named to an image whose every layer is known: resolved, checked, its format explicit."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...base import container
from ...base.errors import ExitCode, Refusal, visible
from ...base.paths import user_path
from .. import description, formats, image_lock, layout, names, partitions, qcow2
from ..description import Description
from ..formats import Node
from ..names import Reference
from ..repository.versions import Repository
from . import repositories

_MAX_LAYERS = 16  # a guess: images have two or three, and each is a file that QEMU has open
_BARE_FORMATS = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw"}


# On one line of a terminal, with what stands beside it.
_LONGEST_TITLE = 100


@dataclass(frozen=True)
class ImageLayer:
    """One file of the disk. `path` is absolute and without symbolic links."""

    path: Path
    format: str
    identity: image_lock.Identity = field(default=image_lock.UNSEEN, compare=False)
    """Which file was looked at: another one in its place must not be taken for it."""
    size: int = field(default=0, compare=False)
    """Of the file, in bytes; of one that lies encrypted, of its plain text."""

    def node(self, below: Node | None) -> Node:
        """How QEMU is told to open it, with what it stands on (QEMU, qapi/block-core.json)."""
        file: Node = {"driver": "file", "filename": str(self.path), "read-only": True}
        return {"driver": self.format, "file": file} | ({"backing": below} if self.format == "qcow2" else {})


def chain(layers: Sequence[ImageLayer]) -> Node:
    """A disk with what it stands on, top first, told to QEMU whole: no name in its headers is followed."""
    below: Node | None = None
    for layer in reversed(layers):
        below = layer.node(below)
    assert below is not None
    return below


@dataclass(frozen=True)
class Image:
    """An image that can be booted. `layers` runs from the top to the deepest backing file."""

    description: Description
    layers: tuple[ImageLayer, ...]
    size: int
    variables: Path | None
    folder: Path | None = None
    """The folder with its description, links resolved; None for a bare disk file."""
    name: str = ""
    version: str = ""
    """How a repository calls it; empty when it was not found by name, or has no versions there."""
    keys: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """What opens those of its files that lie encrypted, by path."""

    @property
    def title(self) -> str:
        """How the image is called in front of people."""
        if self.version:
            return f"{self.name}@{self.version}"
        named = "@".join(filter(None, (self.description.name, self.description.version)))
        return visible(named or self.layers[0].path.name, _LONGEST_TITLE)


def resolve(text: str, folders: Sequence[Path], cache: Path | None = None) -> Image:
    """The image that `text` names: a folder, a disk file, or a name in one of `folders`.

    Of one that was found by name, this node's whole copy in `cache` is taken, if there is one.
    Raises Refusal that says what is wrong with it and what would help.
    """
    if not text:
        return _the_only_one(folders, cache)
    path = user_path(text)
    if "/" not in text and not os.access(path, os.F_OK):
        return _by_name(_reference(text), folders, cache)
    if stat.S_ISDIR(_mode(path, "image")):
        return _from_any_folder(path)
    _readable_file(path, "image")
    kind = _BARE_FORMATS.get(path.suffix.lower())
    begin = formats.container(formats.piece(path))
    if kind is None:
        hint = "name it .qcow2 or .raw, or put an image.toml beside it and name the folder"
        what = f"{path}: its format cannot be told from its name, and is never guessed from its content"
        raise Refusal(ExitCode.IMAGE, what, hint=f"7lbd image add makes an image of a {begin}" if begin else hint)
    if begin not in ("", kind):
        raise _misnamed(path, kind, begin)
    return _assemble(Description(disk=path.name, format="qcow2" if kind == "qcow2" else "raw"), path)


def _misnamed(path: Path, kind: str, begin: str) -> Refusal:
    """Cloud images are qcow2 and called .img: as raw they would not boot, and what they are must not be guessed."""
    what = f"{path}: is named {kind}, but begins like {begin}"
    hint = f"bring it in: 7lbd image add {path} --name NAME --version VERSION"
    if begin == "qcow2":
        hint = f"if that is what it is, call it .qcow2, or {hint}"
    if kind == "raw":
        what = f"{what}; a guest may have written that to deceive"
        hint = f'{hint}; if it is raw, put an image.toml with format = "raw" beside it and name the folder'
    return Refusal(ExitCode.IMAGE, what, hint=hint)


def from_folder(folder: Path, key: bytes | None = None) -> Image:
    """The image whose image.toml is in `folder`; `key` opens it where it lies encrypted. Raises Refusal."""
    toml = folder / layout.DESCRIPTION
    if not os.access(folder, os.X_OK):
        hint = f"its owner can: chmod a+rx {folder}"
        raise Refusal(ExitCode.IMAGE, f"{folder}: cannot be entered: Permission denied", hint=hint)
    if not toml.exists():
        raise Refusal(
            ExitCode.IMAGE,
            f"{folder}: there is no {layout.DESCRIPTION} in it",
            hint="name a folder that has one, or the disk file itself",
        )
    described = description.read(toml)
    for name in filter(None, (described.disk, described.variables)):
        if "/" in name or name in (".", ".."):
            raise Refusal(
                ExitCode.IMAGE,
                f"{toml}: `{name}` must be a file's name in the same folder, without `/`",
                hint="put the file there, or a symbolic link to it",
            )
    if (folder / layout.ENCRYPTED).exists():
        return _encrypted(described, folder.resolve(), key)
    return replace(_assemble(described, folder / described.disk), folder=folder.resolve())


def _encrypted(described: Description, folder: Path, key: bytes | None) -> Image:
    """One that was looked at when it was encrypted. Without a key nobody can start from it."""
    from ..encryption import encrypted_version  # its libraries cost each start 10 ms, and few images lie so

    record = encrypted_version.read(folder, key)
    layers = []
    for layer in record.layers:
        path = folder / layer.name
        _readable_file(path, "image")
        identity = image_lock.identity(path.stat())
        layers.append(ImageLayer(path, layer.format, identity, record.files[layer.name].plain))
    variables = folder / described.variables if described.variables else None
    if variables:
        _readable_file(variables, "variable store")
    keys = encrypted_version.keys(folder, record, key) if key else {}
    return Image(described, tuple(layers), record.size, variables, folder, keys=keys)


def available(folders: Sequence[Path]) -> list[str]:
    """Names of the images in `folders`."""
    return sorted({name for folder in folders for name in Repository(folder).names()})


def _the_only_one(folders: Sequence[Path], cache: Path | None) -> Image:
    image_names = available(folders)
    if len(image_names) == 1:
        return _by_name(Reference(image_names[0]), folders, cache)
    what = "no image was named, and none was found"
    if image_names:
        what = f"no image was named; there are {', '.join(repositories.known_in(folders))}"
    looked = ", ".join(str(folder) for folder in folders) or "nowhere: image_dirs is empty"
    raise Refusal(ExitCode.IMAGE, f"{what} (looked in {looked})", hint="7lbd run --image FOLDER|DISK|NAME[@VERSION]")


def _reference(text: str) -> Reference:
    try:
        return names.parse(text)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{refusal.what}, nor is it a file here", hint=refusal.hint) from None


def _by_name(ref: Reference, folders: Sequence[Path], cache: Path | None = None) -> Image:
    """Which version is current is asked once, here: from now on there is only the version's own folder."""
    resolved, folder = repositories.locate(ref, folders)
    if cache:
        # Not on every start's way.
        from ..cache.node_cache import local

        folder = local(cache, resolved, folder)
    return replace(from_folder(folder), name=resolved.name, version=resolved.version)


def _from_any_folder(path: Path) -> Image:
    """The image in a folder, or the current version of one that a repository keeps there."""
    real = path.resolve()
    described = os.access(real / layout.DESCRIPTION, os.F_OK)
    if not described and os.access(real, os.X_OK) and (real / layout.CURRENT).is_symlink():
        return _by_name(Reference(real.name), [real.parent])
    return from_folder(real)


def _missing(path: Path, what: str) -> Refusal:
    """The refusal of a file that is not there, or that the container does not show: nobody in here can tell more."""
    real = path.resolve()
    if not container.hides(real):
        return Refusal(ExitCode.IMAGE, f"{path}: the {what} does not exist", hint="7lbd image list shows those that do")
    told = f"{path}: the {what} does not exist, or is in a folder of the node that the container does not show"
    bound = real.parent if real.parent.name else real  # the root cannot be added to itself
    return Refusal(ExitCode.IMAGE, told, hint=container.again(["--bind", str(bound)]))


def _mode(path: Path, what: str) -> int:
    """st_mode of `path`. Raises Refusal when it cannot be told."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        raise _missing(path, what) from None
    except OSError as error:
        what = f"{path}: the {what} cannot be reached: {error.strerror}"
        raise Refusal(
            ExitCode.IMAGE, what, hint="its owner can open the folders on the way: chmod a+x FOLDER"
        ) from None


def _readable_file(path: Path, what: str) -> None:
    if not stat.S_ISREG(_mode(path, what)):
        raise Refusal(ExitCode.IMAGE, f"{path}: the {what} is not a regular file", hint="7lbd run --image FOLDER|DISK")
    if not os.access(path, os.R_OK):
        raise Refusal(
            ExitCode.IMAGE, f"{path}: the {what} is not readable for you", hint=f"its owner can: chmod a+r {path}"
        )


def _assemble(described: Description, disk: Path) -> Image:
    variables = disk.parent / described.variables if described.variables else None
    if variables:
        _readable_file(variables, "variable store")
    layers, size = walk(disk, described.format)
    if len(layers) == 1 and described.format == "raw":
        check_whole(disk, partitions.read(formats.piece(disk).read(0, partitions.HEAD)), size)
    return Image(described, layers, size, variables.resolve() if variables else None)


def check_whole(disk: Path, table: partitions.PartitionTable, size: int) -> None:
    """Refuse a disk that ends before its own partition table says. Raises Refusal."""
    if lost := table.lost(size):
        hint = "copy or export it anew; of one that was made smaller on purpose: sgdisk -e moves the copy to its end"
        raise Refusal(ExitCode.IMAGE, f"{disk}: is truncated: {lost}", hint=hint)


class DiskFiles:
    """The files of a disk, as they lie there."""

    def header(self, path: Path) -> qcow2.Header:
        """Raises OSError, HeaderError."""
        return qcow2.read(path)

    def size(self, path: Path) -> int:
        """In bytes."""
        return path.stat().st_size


_PLAIN = DiskFiles()


def walk(disk: Path, kind: str, files: DiskFiles = _PLAIN) -> tuple[tuple[ImageLayer, ...], int]:
    """Every layer from `disk` down, and the disk's size in bytes. All lie in the disk's own folder or below."""
    _readable_file(disk, "image")
    home = disk.resolve().parent
    layers: list[ImageLayer] = []
    path, size = disk.resolve(), None
    while True:
        if any(layer.path == path for layer in layers) or len(layers) == _MAX_LAYERS:
            raise Refusal(ExitCode.IMAGE, f"{disk}: its backing files form a circle or are too many", hint=_FLATTEN)
        layers.append(ImageLayer(path, kind, image_lock.identity(path.stat()), files.size(path)))
        if kind == "raw":
            size = size if size is not None else files.size(path)
            if not size:
                raise Refusal(ExitCode.IMAGE, f"{path}: is empty", hint="copy the image anew")
            return tuple(layers), size
        header = _header(path, files)
        size = header.size if size is None else size
        if not header.backing_file:
            return tuple(layers), size
        path, kind = _backing(path, header, home)


def _header(path: Path, files: DiskFiles) -> qcow2.Header:
    try:
        return files.header(path)
    except qcow2.HeaderError as error:
        raise Refusal(
            ExitCode.IMAGE, f"{path}: not usable as a qcow2 image: {error}", hint="qemu-img check tells more"
        ) from None
    except OSError as error:
        raise Refusal(ExitCode.IMAGE, f"{path}: cannot be read: {error.strerror}", hint="copy the image anew") from None


def _backing(path: Path, header: qcow2.Header, home: Path) -> tuple[Path, str]:
    """The file below `path`. A name that is anything but a file near the image is refused: it may be an attack."""
    name, kind = header.backing_file, header.backing_format
    shown = name.encode("utf-8", "backslashreplace").decode()
    if ":" in name.split("/")[0]:
        raise Refusal(ExitCode.IMAGE, f"{path}: its backing file `{shown}` is not a plain file name", hint=_FLATTEN)
    if kind not in ("qcow2", "raw"):
        raise Refusal(ExitCode.IMAGE, f"{path}: the format of its backing file `{shown}` is not given", hint=_FLATTEN)
    below = (path.parent / name).resolve()
    if not below.is_relative_to(home):
        raise Refusal(
            ExitCode.IMAGE, f"{path}: its backing file `{shown}` lies outside the image's folder", hint=_FLATTEN
        )
    _readable_file(below, f"backing file of {path.name}")
    return below, kind


_FLATTEN = "make it one file: qemu-img convert -O qcow2 IN OUT (only if you trust where it came from)"
