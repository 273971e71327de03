"""pyroute2, of which we use one part: the kernel's links, addresses and queues.

Its package loads all of its parts: 70 ms of a core at each start, while the checks want it. So the package is put there
unrun; its parts import each other by their full names, and find what they need.
"""

from __future__ import annotations

import importlib.util
import sys

if "pyroute2" not in sys.modules and (_spec := importlib.util.find_spec("pyroute2")):
    sys.modules["pyroute2"] = importlib.util.module_from_spec(_spec)

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

__all__ = ["AsyncIPRoute", "NetlinkError"]
