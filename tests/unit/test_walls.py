"""The walls show in the imports: what each process may load, and that the tree of packages is one."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import imports
import pytest
from imports import Import

GRAPH = imports.graph()
MODULES = imports.modules()
PACKAGES = imports.packages(MODULES)


@dataclass(frozen=True)
class Process:
    """Where a process begins, and the packages and modules that it may load; `but` are parts of these that it may not.

    What the functions of `elsewhere` import is loaded in another process: in a fork of this one, or by another verb.
    """

    entries: tuple[str, ...]
    may: tuple[str, ...]
    but: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = field(default=())


# No plan: they have no word for what is in one.
_SAVING = (
    *("base", "wire", "outside.saved", "images.signing.digest", "images.image_lock", "images.qcow2"),
    *("outside.presence.records", "outside.access.credentials", "outside.folders"),
)
_RELAYS = ("base", "wire.codec", "wire.forwards", "wire.packets", "outside.egress.relay")
PROCESSES = {
    # The models of settings and images are the checker's: 10 MB that would stay for as long as the session.
    "supervisor": Process(
        ("__main__", "outside.session.launch", "outside.batch.entry"),
        ("base", "wire", "outside", "images.image_lock", "images.layout", "images.names", "images.repository.leases"),
        but=("outside.session.preflight.prepare", "outside.egress.policy", "outside.imaging", "outside.checks"),
        elsewhere=("__main__", "outside.session.preflight.checker", "outside.batch.entry"),
    ),
    "checker": Process(
        ("outside.session.preflight.checker",),
        ("base", "wire", "config", "images", "outside"),
        but=("outside.imaging",),
    ),
    "keeper and builder": Process(("inside.__main__",), ("base", "wire", "inside"), but=("inside.gateway",)),
    "gateway": Process(("inside.gateway.__main__",), ("base", "wire", "inside.gateway")),
    "relay of the ways out": Process(("outside.egress.relay.__main__",), _RELAYS),
    "broker of connections": Process(("outside.egress.relay.broker",), _RELAYS),
    # It decodes what a guest sends.
    "scripted client": Process(("outside.rdp_client.__main__",), ("outside.rdp_client",)),
    # The libraries of compression and encryption, and the user's key, for as long as a file is written or read.
    "writer of saved desktops": Process(("outside.saved.writer",), _SAVING),
    "reader of saved desktops": Process(("outside.saved.reader",), _SAVING),
    # A guest's or the pool's words come to it as records alone.
    "coordinator": Process(
        ("outside.grid.coordinator.coordinator_verb",),
        ("base", "wire", "config", "images", "outside"),
        but=(
            "outside.session.preflight.prepare",
            "outside.session.supervisor",
            "outside.imaging",
            "outside.egress.policy",
        ),
    ),
    "maker of encrypted disks": Process(
        ("images.encryption.maker",), ("images.encryption", "images.cache.sparse", "images.qcow2")
    ),
    # Machines' and jobs' words come to it as records, names of ours and numbers.
    "pool's service": Process(
        ("outside.grid.pool.pool_verbs",),
        ("base", "wire", "config", "images", "outside"),
        but=("outside.session", "outside.imaging", "outside.egress", "outside.saved", "outside.grid.coordinator"),
    ),
    "maker of certificates": Process(
        ("outside.access.certificates",), ("base", "wire.tls", "outside.access.certificates", "outside.access.bundle")
    ),
}
# Packages that know nothing of whoever uses them.
GROUND = {
    "base": ("base",),
    "wire": ("base", "wire"),
    "config": ("base", "config"),
    "images": ("base", "config", "images"),
    "inside": ("base", "wire", "inside"),
    "outside": ("base", "wire", "config", "images", "outside"),
}
# A wire is called like who is at its end.
TWO_ENDS = frozenset({"keeper", "gateway"})


def lies_in(name: str, places: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{place}.") for place in places)


def allowed(name: str, process: Process) -> bool:
    entered = name in process.entries or name == ""
    return entered or (lies_in(name, process.may) and not lies_in(name, process.but))


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_loads_what_it_may(name: str) -> None:
    process = PROCESSES[name]

    def follow(importer: str, one: Import) -> bool:
        return allowed(importer, process) and not (one.lazy and importer in process.elsewhere)

    loaded = imports.closure(process.entries, GRAPH, follow)
    wrong = [imports.chain(module, loaded) for module in loaded if not allowed(module, process)]
    assert not wrong, f"the {name} loads what it must not:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "place", sorted({entry for process in PROCESSES.values() for entry in process.may + process.but})
)
def test_the_table_of_processes_names_what_is_there(place: str) -> None:
    assert place in MODULES


@pytest.mark.parametrize("package", GROUND)
def test_a_package_stands_on_what_is_below_it(package: str) -> None:
    for name in MODULES:
        if lies_in(name, (package,)):
            wrong = [one.target for one in GRAPH[name] if one.target and not lies_in(one.target, GROUND[package])]
            assert not wrong, f"{name} imports {wrong}"


def test_no_packages_need_each_other() -> None:
    edges: dict[str, set[str]] = defaultdict(set)
    for name, found in GRAPH.items():
        home = name if name in PACKAGES else name.rpartition(".")[0]
        for one in found:
            target = one.target if one.target in PACKAGES else one.target.rpartition(".")[0]
            if one.target and target != home:
                edges[home].add(target)
    assert imports.circles(edges) == []


def test_no_modules_need_each_other() -> None:
    """Not even for their types."""
    graph = imports.graph(types=True)
    assert imports.circles({name: {one.target for one in found} for name, found in graph.items()}) == []


def test_outside_has_rooms_only() -> None:
    assert [name for name in MODULES if re.fullmatch(r"outside\.\w+", name) and name not in PACKAGES] == []


def test_no_module_has_the_name_of_another() -> None:
    names = Counter(name.rpartition(".")[2] for name in MODULES)
    assert {name for name, count in names.items() if count > 1} - {"__main__"} <= TWO_ENDS


def test_no_public_class_has_the_name_of_another() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(name)
    assert {name: found for name, found in where.items() if len(found) > 1} == {}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_lists_what_is_in_it(package: str) -> None:
    listed = re.findall(r"^- (\w+)/?:", ast.get_docstring(ast.parse(MODULES[package].read_text())) or "", re.M)
    there = {name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == package}
    assert sorted(listed) == sorted(there)


def test_every_module_says_what_it_is_for() -> None:
    for name, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text())), name
