"""What programs ask the page for: metrics, and the bundle for native clients."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile

import harness
from harness import Console, Session
from web import Role, token, url
from wire import Answer, ask


def bearer(session: Session, role: Role = "desktop") -> dict[str, str]:
    return {"Authorization": f"Bearer {token(session, role)}"}


def metrics(session: Session) -> dict[str, float]:
    """Each sample, with its labels, and its value; the text is OpenMetrics as a scraper takes it."""
    answer = ask("GET", f"{url(session)}metrics", bearer(session, "status"))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    text = answer.body.decode()
    assert text.endswith("# EOF\n")
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_metrics_tell_the_machine_its_files_and_its_ways_in(demo: Session, guest: Console) -> None:
    before = metrics(demo)
    guest.run("dd if=/dev/urandom of=Home/metrics.bin bs=64k count=16 conv=fsync status=none && rm Home/metrics.bin")
    writes = 'sevenlbd_smb_operations_total{operation="write"}'
    deadline = time.monotonic() + harness.PATIENCE  # smbd adds its counts up now and then
    while (after := metrics(demo))[writes] == before[writes] and time.monotonic() < deadline:
        time.sleep(0.5)
    assert after[writes] > before[writes]
    assert after["sevenlbd_vm_cpu_seconds_total"] > before["sevenlbd_vm_cpu_seconds_total"] > 0
    assert after["sevenlbd_vm_resident_bytes"] > 256 << 20
    assert 0 < after['sevenlbd_phase_seconds{phase="booting"}'] < after['sevenlbd_phase_seconds{phase="ready"}']
    ways = {found[1] for found in (re.search(r'_connections\{connector="(\w+)"', name) for name in after) if found}
    assert ways >= {"rdp", "vnc", "desktop", "console", "status"}


def test_the_page_gives_the_clients_bundle_once(demo: Session) -> None:
    def take() -> Answer:
        return ask("POST", f"{url(demo)}api/client", bearer(demo))

    renewed = harness.run("connect", demo.id, "--session-dir", str(demo.base), "--renew")
    assert renewed.returncode == 0, renewed.stderr
    first, second = take(), take()
    assert first.status == 200
    with zipfile.ZipFile(io.BytesIO(first.body)) as bundle:
        names = {name.rpartition("/")[2] for name in bundle.namelist()}
    assert {"client.pem", "ca.pem"} <= names
    assert second.status == 410
    assert "--renew" in json.loads(second.body)["hint"]
    assert ask("POST", f"{url(demo)}api/client", bearer(demo, "console")).status == 403
