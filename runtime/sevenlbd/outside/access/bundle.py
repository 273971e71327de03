"""The client's bundle for RDP over mutual TLS: certificate, configurations, and a page that says how to use them.

It is packed in the process that makes the certificates, and opens nothing itself.
"""

from __future__ import annotations

import io
import time
import zipfile
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...base.rdp_file import local_port, rdp_file
from ...wire import tls


def pack(session: str, account: str, native: dict[str, Any], ends: float, client: bytes, authority: bytes) -> bytes:
    """The bundle as a zip file. `native` says where the server is reached: its first host is the best one."""
    templates = Environment(
        loader=PackageLoader("sevenlbd.outside.access"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    host = native["hosts"][0]
    values = {
        "session": session,
        "account": account,
        "host": host,
        "endpoint": f"[{host}]:{native['port']}" if ":" in host else f"{host}:{native['port']}",
        "port": native["port"],
        "name": tls.server_name(session),
        "local_port": local_port(session),
        "ends": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ends)),
    }
    files: dict[str, str | bytes] = {
        tls.README: templates.get_template(tls.README).render(values),
        "stunnel.conf": templates.get_template("stunnel.conf").render(values, windows=False),
        "stunnel-windows.conf": templates.get_template("stunnel.conf").render(values, windows=True),
        "desktop.rdp": rdp_file(account, local_port(session)),
        "client.pem": client,
        "ca.pem": authority,
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, time.gmtime()[:6])
            entry.external_attr = 0o100600 << 16
            archive.writestr(entry, content)
    return packed.getvalue()
