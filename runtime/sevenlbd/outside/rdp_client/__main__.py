"""A process of its own for a visit: what the guest's server sends is decoded here, and ends with it.

The request comes as JSON on standard input, with the session's key in it; the report goes to standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys

from .visit import DesktopVisit, visit


def main() -> None:
    report = asyncio.run(visit(DesktopVisit(**json.load(sys.stdin))))
    print(json.dumps(report.as_json()))


if __name__ == "__main__":
    main()
