"""python -m sifbuild [build|web|dev-site|fuzz-site|dev-web|definition]

Makes build/7lbd.sif, or the part that is named; says nothing when it is up to date.
"""

import argparse
import os
import signal
import sys

from sifbuild import definition, paths, stages, web
from sifbuild.inputs import Revision
from sifbuild.process import BuildError, say
from sifbuild.stage import Stage, build_lock, scratch

ACTIONS = ("build", "web", "dev-site", "fuzz-site", "dev-web", "definition")


def main() -> int:
    options = parse(sys.argv[1:])
    # What is made here is run by other users: their rights must not hang on our umask.
    os.umask(0o022)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        match options.action:
            case "definition":
                print_definition()
            case "dev-site":
                build([stages.DevSite()])
            case "fuzz-site":
                build([stages.FuzzSite()])
            case "web":
                build([web.Web()])
            case "dev-web":
                build([web.DevWeb()])
            case _:
                build(stages.plan(options.base, options.compression))
    except BuildError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing half-made is left")
        return 130
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build-sif", description=__doc__)
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="build")
    parser.add_argument("--base", default=os.environ.get("SEVENLBD_SIF_BASE", "debian"))
    parser.add_argument("--compression", default=os.environ.get("SEVENLBD_SIF_COMPRESSION", "lz4"))
    return parser.parse_args(arguments)


def print_definition() -> None:
    sources = stages.Sif(definition.DOCKER, [], "gzip").sources
    print(definition.render(definition.DOCKER, paths.TMP / "tree", Revision.of(sources)), end="")


def build(plan: list[Stage]) -> None:
    if all(stage.is_fresh() for stage in plan):
        return
    with build_lock(), scratch():
        for stage in plan:
            if not stage.is_fresh():
                stage.build()


if __name__ == "__main__":
    sys.exit(main())
