"""Each fact stands in one place of the runtime: everybody else takes it from there."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import imports
from sevenlbd.base import addresses
from sevenlbd.images import layout
from sevenlbd.wire import shared_files

MODULES = imports.modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
CONTAINERS = imports.ROOT.parents[1] / "containers"


def texts(name: str) -> Iterator[str]:
    """The strings of a module, but for what only people read: the docstrings."""
    said = {id(node.value) for node in ast.walk(TREES[name]) if isinstance(node, ast.Expr)}
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Constant) and id(node) not in said:
            value = node.value
            if isinstance(value, str | bytes):
                yield value if isinstance(value, str) else value.decode(errors="replace")


def spelt(is_it: Callable[[str], object], *but: str) -> list[str]:
    """Where else than in the modules of the fact it is spelt."""
    return [f"{name}: {text!r}" for name in MODULES if name not in but for text in texts(name) if is_it(text)]


def test_the_addresses_of_the_guests_link_stand_in_one_place() -> None:
    own = re.compile(r"169\.254\.100\b|fd07:1bd0", re.IGNORECASE)
    assert spelt(own.search, "base.addresses") == []


def test_the_images_know_the_addresses_of_the_guests_link() -> None:
    """They are programs of other languages, which cannot take them from there."""
    host, guest = addresses.HOST, addresses.GUEST
    length = addresses.PREFIX_LENGTH
    known = {host, guest, addresses.SUBNET, addresses.NAME_SERVER, f"{host}/{length}", f"{guest}/{length}"}
    found = {
        address
        for path in CONTAINERS.rglob("*")
        if path.is_file() and not path.is_symlink()
        for address in re.findall(r"169\.254\.100\.\d+(?:/\d+)?", path.read_text(errors="ignore"))
    }
    assert found
    assert found <= known


STARTING = {
    *("create_subprocess_exec", "create_subprocess_shell", "subprocess_exec", "subprocess_shell"),
    *("posix_spawn", "posix_spawnp", "system", "popen", "ProcessPoolExecutor"),
}
FORKS = {
    "inside.init.namespace": "PID 1 of the new namespace",
    "inside.init.process_limit": "tries out how the kernel counts processes",
    "inside.builder": "runs the set-up, and takes what that loaded along",
    "outside.session.preflight.checker": "reads images and settings, and takes what that loaded along",
    "outside.node.abilities": "tries out namespaces that cannot be left again",
}
BECOMING = {"inside.services.umask": "sets what the program inherits, and becomes it"}


def words(name: str) -> set[str]:
    """What a module calls things of other modules: `os.fork` is `fork`."""
    nodes = list(ast.walk(TREES[name]))
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return imported | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def loads(name: str) -> set[str]:
    """The modules that are not ours, and are imported whole or in part."""
    nodes = list(ast.walk(TREES[name]))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return whole | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) if not node.level}


def test_one_module_starts_processes() -> None:
    starts = {
        name for name in MODULES if words(name) & STARTING or loads(name) & {"subprocess", "multiprocessing", "pty"}
    }
    assert starts == {"base.process"}


def test_who_forks_or_becomes_another_program_is_listed_with_its_reason() -> None:
    assert {name for name in MODULES if words(name) & {"fork", "forkpty"}} == set(FORKS)
    assert {name for name in MODULES if any(re.match(r"(exec|spawn)[lv]p?e?$", word) for word in words(name))} == set(
        BECOMING
    )


# Words for other things, too: looked for as names of files only.
PLAIN = {layout.WARM, layout.WARM_MEMORY, layout.WARM_STATE, layout.CURRENT, layout.HISTORY}
# Folders of other kinds have files that are called so.
COMMON = {layout.LOCK, layout.NEW}
NAMES = {value for name, value in vars(layout).items() if name.isupper()} - PLAIN - COMMON
SPELLERS = ("images.layout", "wire.shared_files")
# The kernel calls things so, too: a cgroup's controller, and the pressure on it.
KERNELS = {"outside.node.abilities": {layout.WARM_MEMORY}, "outside.node.host_memory": {layout.WARM_MEMORY}}


def joined(name: str) -> Iterator[str]:
    """What a module takes for the name of a file, in the spelling that it has there."""
    for node in ast.walk(TREES[name]):
        said: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            said = [node.left, node.right]
        elif isinstance(node, ast.Call) and re.search(r"\b(Path|joinpath|with_name)$", ast.unparse(node.func)):
            said = node.args
        yield from (one.value for one in said if isinstance(one, ast.Constant) if isinstance(one.value, str))


def test_the_names_where_images_are_kept_are_spelt_in_one_place() -> None:
    assert spelt(lambda text: text.rpartition("/")[2] in NAMES, *SPELLERS) == []
    plain = {name: set(joined(name)) & PLAIN for name in MODULES if name not in SPELLERS}
    assert {name: found for name, found in plain.items() if found} == KERNELS


def test_the_names_of_a_sessions_files_that_both_sides_know_are_spelt_in_one_place() -> None:
    """But for those that an image has, too: the test above looks for them."""
    own = {str(value) for value in vars(shared_files).values() if isinstance(value, Path)}
    own -= {str(shared_files.LOGS), *NAMES, *PLAIN}
    assert own
    assert spelt(own.__contains__, "wire.shared_files") == []


HOST_NAMES = {
    "base.hostnames": "the grammar of names",
    "outside.imaging.build_debian": "what a machine calls itself has no underscore and one label",
}
READS_ADDRESSES = {
    "base.hostnames": "tells addresses from all else",
    "inside.gateway.peers": "what the kernel writes, with a link's name behind it",
    "outside.acceptance.criteria.network_criteria": "what `outside.acceptance.inside_look` has told of frames",
    "outside.acceptance.inside_look": "the bytes of a frame",
    "outside.access.listeners": "refuses with the reason that it hears",
    "outside.egress.policy.decide": "what `base.hostnames` has taken for an address",
    "outside.egress.relay.resolve": "what the kernel writes",
    "outside.grid.pool.machine_keys": "whether what the kernel writes is in a network of the site's",
}


def test_what_is_a_hosts_name_or_address_is_told_in_one_place() -> None:
    """And who has another grammar is listed, with its reason."""
    assert {name for name in MODULES if any("{0,61}" in text for text in texts(name))} == set(HOST_NAMES)
    assert {name for name in MODULES if "ip_address" in words(name)} == set(READS_ADDRESSES)
