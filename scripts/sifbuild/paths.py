"""Where things are. Knows no more than names."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / "build"
LOGS = BUILD / "log"
TMP = BUILD / "tmp"

APPLIANCE = REPO / "containers" / "appliance"
WEB = APPLIANCE / "web"
CHARSET = APPLIANCE / "charset"
WINDOWS = REPO / "containers" / "windows"
RUNTIME = REPO / "runtime"
TEMPLATE = REPO / "defs" / "7lbd.def.j2"
BUILDER = Path(__file__).parent
