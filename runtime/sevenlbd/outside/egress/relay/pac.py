"""The page that tells a browser which hosts to ask the proxy for (proxy auto-configuration, WPAD)."""

from __future__ import annotations

import json
from collections.abc import Iterable

from .allowed import PROXY_PORT, Pattern

PATHS = (b"/proxy.pac", b"/wpad.dat")
TYPE = "application/x-ns-proxy-autoconfig"


def page(patterns: Iterable[Pattern], address: str) -> bytes:
    """A FindProxyForURL that sends what is listed to the proxy, and the rest nowhere else than directly."""
    host = f"[{address}]" if ":" in address else address
    tests = "\n".join(f"    if ({_test(pattern)}) return proxy;" for pattern in patterns)
    return f"""function FindProxyForURL(url, host) {{
    var proxy = {json.dumps(f"PROXY {host}:{PROXY_PORT}")};
    host = host.toLowerCase().replace(/^\\[|\\]$/g, "");
{tests}
    return "DIRECT";
}}
""".encode()


def _test(pattern: Pattern) -> str:
    scheme = f"url.substring(0, {len(pattern.scheme) + 1}) == {json.dumps(pattern.scheme + ':')}"
    if pattern.host.startswith("*."):
        return f"{scheme} && dnsDomainIs(host, {json.dumps(pattern.host[1:])})"
    return f"{scheme} && host == {json.dumps(pattern.host)}"
