"""python -m sifbuild: makes build/7lbd.sif, or says nothing when it is up to date."""

import sys

from sifbuild.process import BuildError, say
from sifbuild.stage import Stage, build_lock, scratch
from sifbuild.stages import Base, Sif, Site, compression


def main() -> int:
    base, site = Base(), Site()
    stages: list[Stage] = [base, site, Sif(base, site, compression())]
    if all(stage.is_fresh() for stage in stages):
        return 0
    try:
        with build_lock(), scratch():
            build_stale(stages)
    except BuildError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing half-made is left")
        return 130
    return 0


def build_stale(stages: list[Stage]) -> None:
    """A stage is made when its inputs changed, or when one that it stands on was made just now."""
    made = False
    for stage in stages:
        if isinstance(stage, Sif) and made or not stage.is_fresh():
            stage.build()
            made = True


if __name__ == "__main__":
    sys.exit(main())
