"""The stages of the SIF: Debian's packages, Python's packages, the web pages (web.py), and the file that joins them
with the runtime."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sifbuild import definition, paths
from sifbuild.definition import Origin
from sifbuild.inputs import Revision, key
from sifbuild.process import BuildError, run
from sifbuild.stage import Stage
from sifbuild.web import Web, put

PYTHON = "3.13"  # of Debian 13, hence of the appliance
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
RECIPE = [paths.APPLIANCE / name for name in ("packages.txt", "prune.txt", "base.sh")]


class Base(Stage):
    """Debian 13 with the appliance's packages, as a squashfs that Apptainer can start from."""

    name = "base.sqfs"
    what = "Debian packages without root; about a minute, once"

    def key(self) -> str:
        return key(RECIPE, [definition.DEBIAN])

    def make(self, target: Path) -> None:
        packages = ",".join(lines(paths.APPLIANCE / "packages.txt"))
        tar, tree = target.with_suffix(".tar"), "/usr/share/7lbd"
        copies = " ".join(f"{path.relative_to(paths.REPO)}" for path in RECIPE)
        command = [
            *("mmdebstrap", "--mode=unshare", "--variant=minbase", "--format=tar", f"--include={packages}"),
            '--aptopt=APT::Install-Recommends "false"',
            f'--customize-hook=mkdir -p "$1{tree}"',
            f"--customize-hook=copy-in {copies} {tree}",
            f'--customize-hook=chroot "$1" sh {tree}/base.sh',
            *(definition.DEBIAN, str(tar), *debian_sources()),
        ]
        run(command, self.name)
        # lz4: it is unpacked again at once, and soon replaced.
        run(["sqfstar", "-comp", "lz4", "-quiet", "-no-progress", target], self.name, stdin=tar)


class Site(Stage):
    """The runtime's Python packages for the appliance's Python, every file held to its hash."""

    name = "site"
    what = "Python packages"

    def key(self) -> str:
        return key([paths.RUNTIME / "requirements.txt"], [PYTHON])

    def make(self, target: Path) -> None:
        install_site(target, paths.RUNTIME / "requirements.txt", self.name)


class DevSite(Stage):
    """What unit tests and type checks want beside the site. Never part of the SIF."""

    name = "dev-site"
    what = "Python packages for tests"
    lock = paths.REPO / "requirements" / "dev-site.txt"

    def key(self) -> str:
        return key([self.lock], [PYTHON])

    def make(self, target: Path) -> None:
        install_site(target, self.lock, self.name)


class FuzzSite(Stage):
    """What guides the fuzzing of parsers. Never part of the SIF."""

    name = "fuzz-site"
    what = "the fuzzer"
    lock = paths.REPO / "requirements" / "fuzz.txt"

    def key(self) -> str:
        return key([self.lock], [PYTHON])

    def make(self, target: Path) -> None:
        install_site(target, self.lock, self.name)


class FirmwareTools(Stage):
    """What makes the variable store of Secure Boot, by the appliance's Python, when the SIF is put together."""

    name = "firmware-tools"
    what = "the tool for Secure Boot's variables"
    lock = paths.REPO / "requirements" / "firmware.txt"

    def key(self) -> str:
        return key([self.lock], [PYTHON])

    def make(self, target: Path) -> None:
        install_site(target, self.lock, self.name)


class Charset(Stage):
    """The file names' character set for smbd: a module of glibc's iconv, the one thing of ours that is compiled."""

    name = "charset"
    what = "the character set of file names"

    def key(self) -> str:
        return key([paths.CHARSET], [])

    def make(self, target: Path) -> None:
        target.mkdir(parents=True)
        # It uses nothing of libc but strcmp, so this machine's older one does for the appliance's.
        flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-s", "-Wl,--build-id=none")
        run(["gcc", *flags, "-o", target / "7LBD-NAMES.so", paths.CHARSET / "names.c"], self.name)
        shutil.copy(paths.CHARSET / "gconv-modules", target)


def install_site(target: Path, lock: Path, log: str) -> None:
    """Installs a lock file's packages for the appliance's Python, without running any of their code."""
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile", "--implementation=cp"),
            *(f"--python-version={PYTHON}", *platforms, f"--target={target}", f"--requirement={lock}"),
        ],
        log,
    )
    shutil.rmtree(target / "bin", ignore_errors=True)


class Sif(Stage):
    """The appliance itself."""

    name = "7lbd.sif"
    what = "putting the runtime in, compressing"

    def __init__(self, origin: Origin, below: Sequence[Stage], compression: str) -> None:
        """`below` are the stages that this one stands on; they are built before it."""
        self.origin, self.below, self.compression = origin, below, compression

    @property
    def sources(self) -> list[Path]:
        return [paths.RUNTIME, paths.APPLIANCE, paths.WINDOWS, paths.TEMPLATE, paths.BUILDER]

    def key(self) -> str:
        revision = Revision.of(self.sources)
        facts = [str(self.origin), self.compression, str(revision), *(stage.key() for stage in self.below)]
        return key(self.sources, facts)

    def make(self, target: Path) -> None:
        revision = Revision.of(self.sources)
        tree, recipe = paths.TMP / "tree", paths.BUILD / "7lbd.def"
        parts = Parts(*(paths.BUILD / stage.name for stage in (Site, Web, Charset, FirmwareTools)))
        lay_out(tree, parts, revision)
        recipe.write_text(definition.render(self.origin, tree, revision))
        apptainer_build(target, recipe, SQUASHFS[self.compression], revision)
        verify(target, revision)


# Each start mounts the file anew and unpacks what it reads in one FUSE process: lz4 takes 0.2 s less of a CPU for that
# than zstd, which makes the file 20 % smaller. Blocks of 32 KiB: many small files are read, and 128 KiB took longer.
# gzip is for nodes that mount by a setuid Apptainer with a kernel that can do neither.
SQUASHFS = {
    "lz4": "-b 32K -comp lz4 -Xhc",
    "zstd": "-b 32K -comp zstd -Xcompression-level 6",
    "gzip": "-b 32K -comp gzip",
}


class Parts(NamedTuple):
    """Where the stages below have put what goes into the SIF."""

    site: Path
    web: Path
    charset: Path
    firmware_tools: Path


def lay_out(tree: Path, parts: Parts, revision: Revision) -> None:
    """Puts together what is ours in the image, under the paths it has there."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(parts.site, tree / "usr/lib/7lbd/site", ignore=ignored)
    shutil.copytree(paths.RUNTIME / "sevenlbd", tree / "usr/lib/7lbd/sevenlbd", ignore=ignored)
    shutil.copytree(parts.charset, tree / "usr/lib/7lbd/charset")
    shutil.copytree(parts.web, tree / "usr/share/7lbd/web")
    # Gone again before the image is closed.
    shutil.copytree(parts.firmware_tools, tree / "usr/share/7lbd/firmware-tools", ignore=ignored)
    shutil.copytree(paths.WINDOWS, tree / "usr/share/7lbd/windows")
    put(tree / "usr/bin/7lbd", (paths.RUNTIME / "bin" / "7lbd").read_text())
    put(tree / "usr/lib/python3/dist-packages/7lbd.pth", "/usr/lib/7lbd/site\n/usr/lib/7lbd\n")
    share = tree / "usr/share/7lbd"
    scripts = (paths.APPLIANCE / f"{name}.py" for name in ("secure_boot", "record", "freeze", "selftest"))
    for source in (*RECIPE, *scripts):
        put(share / source.name, source.read_text())
    put(share / "inputs.json", json.dumps(inputs_record(revision)))


def inputs_record(revision: Revision) -> dict[str, object]:
    return {"version": definition.version(), "revision": revision.commit, "source_date_epoch": revision.epoch}


def apptainer_build(target: Path, recipe: Path, squashfs: str, revision: Revision) -> None:
    env = {"APPTAINER_TMPDIR": str(paths.TMP), "SOURCE_DATE_EPOCH": str(revision.epoch)}
    run(["apptainer", "build", "--fakeroot", "--mksquashfs-args", squashfs, target, recipe], target.name, env)


def verify(sif: Path, revision: Revision) -> None:
    """What Apptainer reads back from the file is what was asked for."""
    from spython.main import Client  # slow to import, and needed only after a build

    found = Client.inspect(str(sif))["attributes"]
    wanted = definition.labels(revision)
    wrong = {name for name, value in wanted.items() if found["labels"].get(name) != value}
    missing = {part for part in ("runscript", "helpfile", "test", "deffile") if not found.get(part)}
    if wrong or missing:
        raise BuildError(f"{sif.name} came out without {', '.join(sorted(wrong | missing))}")


def lines(path: Path) -> list[str]:
    """A list file's entries, without comments."""
    stripped = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in stripped if line]


def debian_sources() -> list[str]:
    """Package sources of the appliance's Debian, from the mirrors that this machine itself uses."""
    mirrors = {label: mirror(label) for label in ("Debian", "Debian-Security")}
    if not mirrors["Debian"]:
        raise BuildError("this machine's apt knows no Debian mirror; on another system build with BASE=docker")
    suites = {
        "Debian": (definition.DEBIAN, f"{definition.DEBIAN}-updates"),
        "Debian-Security": (f"{definition.DEBIAN}-security",),
    }
    return [
        f"deb [signed-by={KEYRING}] {uri} {suite} main"
        for label, uri in mirrors.items()
        if uri
        for suite in suites[label]
    ]


def mirror(label: str) -> str:
    command = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
        f"Label: {label}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return next(iter(result.stdout.split()), "")


def plan(base: str, compression: str) -> list[Stage]:
    """The stages in their order. `base` is "debian" for Debian's packages, "docker" for Debian's image."""
    if compression not in SQUASHFS:
        raise BuildError(f"no compression '{compression}'; there is {' and '.join(SQUASHFS)}")
    if base == "docker":
        below = [Site(), Web(), Charset(), FirmwareTools()]
        return [*below, Sif(definition.DOCKER, below, compression)]
    if base != "debian":
        raise BuildError(f"no base '{base}'; there is debian and docker")
    below = [Base(), Site(), Web(), Charset(), FirmwareTools()]
    return [*below, Sif(definition.local(paths.BUILD / Base.name), below, compression)]
