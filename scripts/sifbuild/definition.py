"""Renders the Apptainer definition. The recipe is in defs/7lbd.def.j2; here is what goes into its blanks."""

from dataclasses import dataclass
from pathlib import Path

from sifbuild import paths
from sifbuild.inputs import Revision

DEBIAN = "trixie"


@dataclass(frozen=True)
class Origin:
    """What the SIF is built on."""

    bootstrap: str
    source: str


DOCKER = Origin("docker", f"debian:{DEBIAN}")


def local(base: Path) -> Origin:
    return Origin("localimage", str(base.relative_to(paths.REPO)))


def version() -> str:
    text = (paths.RUNTIME / "sevenlbd" / "__init__.py").read_text()
    return text.partition('__version__ = "')[2].partition('"')[0]


def render(origin: Origin, tree: Path, revision: Revision) -> str:
    """The definition's text. `tree` holds the files to put in, laid out as they will be in the image."""
    import jinja2  # not needed to find that nothing is to be done

    # Wording, not markup: there is nothing to escape in a definition.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(paths.TEMPLATE.read_text()).render(
        bootstrap=origin.bootstrap,
        origin=origin.source,
        files=files(tree),
        labels=labels(revision),
        version=version(),
    )


def files(tree: Path) -> list[tuple[str, str]]:
    """What %files copies: one line for each entry, because a folder copied onto one that exists lands inside it."""
    targets = ("/usr/lib/7lbd", "/usr/bin/7lbd", "/usr/lib/python3/dist-packages/7lbd.pth")
    tree = tree.relative_to(paths.REPO)  # Apptainer is called from there
    return [(f"{tree}{target}", target) for target in targets] + [(f"{tree}/usr/share/7lbd/*", "/usr/share/7lbd/")]


def labels(revision: Revision) -> dict[str, str]:
    prefix = "org.opencontainers.image"
    return {
        f"{prefix}.title": "7lbd appliance",
        f"{prefix}.description": "An isolated Windows desktop on a cluster node, from one file",
        f"{prefix}.version": version(),
        f"{prefix}.revision": revision.commit,
        f"{prefix}.licenses": "Apache-2.0",
    }
