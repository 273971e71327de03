"""QEMU's command line: the parts list that a plan asks for, and that this QEMU knows every word of it."""

from __future__ import annotations

import itertools
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from sevenlbd.inside.init import root
from sevenlbd.inside.vm import qemu
from sevenlbd.inside.vm.qemu import Descriptors
from sevenlbd.wire.plan import PLANS, Guest, Layer, Plan, Share, Warm

GUEST = Guest(
    os="windows",
    firmware="uefi",
    disk_bus="ahci",
    nic="virtio",
    display="std",
    machine="pc-q35-10.0",
    cpu="host",
    cpus=4,
    memory=4 << 30,
    agent=False,
    smbios=True,
    account="user1",
    variables="",
)
PLAN = Plan(
    session="abc",
    folder="/tmp/7lbd-1/abc",
    uid=1000,
    gid=1000,
    user="ann",
    password="Secret123",
    umask=0o022,
    accel="kvm",
    network="tap",
    layers=(Layer("/i/top.qcow2", "qcow2"), Layer("/i/base.raw", "raw")),
    guest=GUEST,
    shares=(Share("home", "/home/ann", read_only=False),),
    guest_access=False,
    wide_links=False,
    ready_timeout=600,
    connectors=("rdp", "vnc"),
    console=True,
    web_tls=False,
)


def command(plan: Plan = PLAN, tap: int | None = 9) -> list[str]:
    return qemu.command(plan, Descriptors(7, 8, 10, tap), [Path("/run/7lbd/oem-password")], io_uring=True)


def values(words: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == option]


def blockdevs(words: list[str]) -> dict[str, dict[str, object]]:
    nodes = [json.loads(value) for value in values(words, "-blockdev")]
    return {node["node-name"]: node for node in nodes}


def test_a_plan_survives_the_wire() -> None:
    assert PLANS.unpack(PLANS.pack(PLAN)) == PLAN


def test_the_password_is_not_in_the_command() -> None:
    assert not [word for word in command() if "Secret123" in word]


def test_every_layer_has_its_format_and_only_the_overlay_is_writable() -> None:
    nodes = blockdevs(command())
    assert (nodes["layer1"]["driver"], nodes["layer1"]["read-only"]) == ("raw", True)
    assert (nodes["layer0"]["driver"], nodes["layer0"]["backing"], nodes["layer0"]["read-only"]) == (
        "qcow2",
        "layer1",
        True,
    )
    assert (nodes["overlay"]["driver"], nodes["overlay"]["backing"]) == ("qcow2", "layer0")
    assert "read-only" not in nodes["overlay"]


def test_the_deepest_layer_follows_no_name_in_its_header() -> None:
    nodes = blockdevs(command(replace(PLAN, layers=(Layer("/i/top.qcow2", "qcow2"),))))
    assert nodes["layer0"]["backing"] is None


def test_windows_with_kvm_gets_each_enlightenment_and_no_nested_virtualisation() -> None:
    (cpu,) = values(command(), "-cpu")
    assert cpu.startswith("host,vmx=off,svm=off,")
    for name in ("hv-relaxed", "hv-vapic", "hv-spinlocks=0x1fff", "hv-vpindex", "hv-synic", "hv-stimer", "hv-time"):
        assert name in cpu
    assert "passthrough" not in cpu


@pytest.mark.parametrize(
    ("vendor", "flush"), [("GenuineIntel", "on"), ("AuthenticAMD", "off"), ("HygonGenuine", "off"), ("", "off")]
)
@pytest.mark.parametrize("warm", [False, True])
def test_flushes_by_hypercall_are_for_cpus_on_which_they_crash_nothing(vendor: str, flush: str, warm: bool) -> None:
    plan = replace(PLAN, guest=replace(GUEST, vendor=vendor), warm=WARM if warm else None)
    (cpu,) = values(command(plan), "-cpu")
    assert [word for word in cpu.split(",") if "tlbflush" in word] == [f"hv-tlbflush={flush}"]


@pytest.mark.parametrize(("system", "accel"), [("linux", "kvm"), ("windows", "tcg")])
def test_enlightenments_are_for_windows_with_kvm_only(system: str, accel: str) -> None:
    (cpu,) = values(command(replace(PLAN, accel=accel, guest=replace(GUEST, os=system))), "-cpu")
    assert "hv-" not in cpu


def test_the_machine_is_versioned_bare_and_filtered() -> None:
    words = command()
    assert values(words, "-machine")[0].startswith("pc-q35-10.0,accel=kvm,")
    assert {"-nodefaults", "-no-user-config"} <= set(words)
    assert values(words, "-sandbox") == ["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    assert not [word for word in words if "balloon" in word]


def test_windows_reads_its_clock_in_local_time() -> None:
    assert values(command(), "-rtc") == ["base=utc,driftfix=slew"]
    local = replace(PLAN, guest=replace(GUEST, clock="localtime"))
    assert values(command(local), "-rtc") == ["base=localtime,driftfix=slew"]
    assert values(command(replace(PLAN, guest=replace(GUEST, os="linux"))), "-rtc") == ["base=utc"]


def test_secure_firmware_has_smm_and_a_tpm() -> None:
    words = command(replace(PLAN, guest=replace(GUEST, firmware="uefi-secure")))
    assert "smm=on" in values(words, "-machine")[0]
    assert "tpm-crb,tpmdev=tpm" in values(words, "-device")
    assert "driver=cfi.pflash01,property=secure,value=on" in values(words, "-global")


def test_secure_firmware_starts_from_the_store_of_the_build_or_from_what_the_image_carries() -> None:
    """Images and warm states that were made before keep their own variables, whatever store comes with the SIF."""
    secure = replace(PLAN, guest=replace(GUEST, firmware="uefi-secure"))
    own = replace(secure, guest=replace(secure.guest, variables="/i/variables.fd"))
    frozen = Warm("/w/disk", "/w/memory", "/w/state", "/w/variables.fd", "Westmere", ())
    stores = [qemu.firmware(plan) for plan in (secure, own, replace(own, warm=frozen), replace(secure, warm=frozen))]
    code = Path("/usr/share/OVMF/OVMF_CODE_4M.ms.fd")
    inside = [root.VARIABLES_TEMPLATE, root.WARM_VARIABLES, root.WARM_VARIABLES]
    assert stores == [(code, path) for path in (Path("/usr/share/7lbd/firmware/secure-boot.fd"), *inside)]


def test_without_a_tap_the_guests_network_is_qemus_own() -> None:
    (network,) = values(command(tap=None), "-netdev")
    assert network.startswith("user,id=net,ipv6=off,net=169.254.100.0/24,host=169.254.100.2,dhcpstart=169.254.100.15")


@pytest.mark.parametrize("bus", ["virtio", "ahci", "nvme", "scsi"])
@pytest.mark.parametrize("system", ["windows", "linux"])
def test_this_qemu_knows_every_word(bus: str, system: str) -> None:
    """The CPU with all its flags and every device, under emulation: names that QEMU does not know end it."""
    guest = replace(GUEST, os=system, disk_bus=bus, cpu="max", cpus=1)
    cpu = qemu.cpu(guest, "kvm")
    devices = [value for value in values(command(replace(PLAN, guest=guest)), "-device") if "drive=" not in value]
    words = ["-machine", "pc-q35-10.0,hpet=off,vmport=off", "-accel", "tcg", "-cpu", cpu, "-m", "64", "-S"]
    words += ["-nodefaults", "-display", "none", "-object", "rng-builtin,id=rng", "-object", "iothread,id=io"]
    words += ["-netdev", "user,id=net", "-chardev", "null,id=agent", "-chardev", "null,id=serial"]
    for device in devices:
        words += ["-device", device]
    words += ["-qmp", "stdio"]
    quit_at_once = '{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n'
    done = subprocess.run(
        ["qemu-system-x86_64", *words], input=quit_at_once, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


WARM = Warm("/i/warm/disk.qcow2", "/i/warm/memory", "/i/warm/state", "/i/warm/variables.fd", "Westmere", ("hook",))


def test_a_plan_with_a_warm_state_and_drives_survives_the_wire() -> None:
    plan = replace(PLAN, warm=WARM, cdroms=("/a.iso", "/b.iso"), lasting=True, freeze=True)
    assert PLANS.unpack(PLANS.pack(plan)) == plan


def memory(plan: Plan) -> str:
    (found,) = [value for value in values(command(plan), "-object") if value.startswith("memory-backend")]
    return found


def test_memory_is_private_of_one_file_when_warm_and_a_file_when_it_is_to_be_frozen() -> None:
    assert memory(PLAN) == f"memory-backend-ram,id=ram,size={4 << 30}"
    assert memory(replace(PLAN, freeze=True)).endswith("mem-path=/run/7lbd/session/memory,share=on")
    assert memory(replace(PLAN, warm=WARM)).endswith(
        "mem-path=/run/7lbd/image/warm-memory,share=off,readonly=on,rom=off"
    )


def test_a_warm_machine_waits_for_its_state_on_its_own_disk_and_cpu() -> None:
    words = command(replace(PLAN, warm=WARM))
    assert values(words, "-incoming") == ["defer"]
    assert values(words, "-cpu")[0].startswith("Westmere,vmx=off,svm=off,enforce=on,hv-relaxed")
    nodes = blockdevs(words)
    assert [nodes[name]["backing"] for name in ("overlay", "warm", "layer0")] == ["warm", "layer0", "layer1"]
    assert nodes["warm"]["read-only"] is True
    assert "-incoming" not in command()


def test_every_machine_tells_its_guest_when_it_is_another_one() -> None:
    assert "vmgenid,guid=auto" in values(command(), "-device")


def test_no_layer_at_all_is_a_blank_disk() -> None:
    assert blockdevs(command(replace(PLAN, layers=())))["overlay"]["backing"] is None


def test_drives_come_after_the_disk_and_only_with_files_in_them() -> None:
    words = command(replace(PLAN, cdroms=("/a.iso", "/b.iso")))
    drives = [value for value in values(words, "-device") if value.startswith("ide-cd")]
    assert drives == ["ide-cd,bus=ide.1,drive=cdrom0,bootindex=1", "ide-cd,bus=ide.2,drive=cdrom1,bootindex=2"]
    assert blockdevs(words)["cdrom1"]["read-only"] is True
    assert not [value for value in values(command(), "-device") if value.startswith("ide-cd")]


def test_only_what_is_thrown_away_ignores_a_flush() -> None:
    assert blockdevs(command())["overlay"]["cache"] == {"no-flush": True}
    assert blockdevs(command(replace(PLAN, lasting=True)))["overlay"]["cache"] == {"no-flush": False}


@pytest.mark.parametrize(("bus", "settable"), [("virtio", True), ("scsi", True), ("ahci", False)])
def test_a_windows_disk_says_how_finely_it_trims_where_qemu_lets_it(bus: str, settable: bool) -> None:
    for system, said in (("windows", settable), ("linux", False)):
        words = command(replace(PLAN, guest=replace(GUEST, os=system, disk_bus=bus)))
        (disk,) = [value for value in values(words, "-device") if "drive=overlay" in value]
        assert ("discard_granularity=65536" in disk) is said


@pytest.mark.parametrize("bus", ["virtio", "nvme", "scsi"])
def test_this_qemu_shows_the_disks_sectors_on_every_bus_but_ahci(bus: str) -> None:
    """Asked of the device itself, without a guest."""
    guest = replace(GUEST, disk_bus=bus, logical_block_size=4096)
    (disk,) = [value for value in values(command(replace(PLAN, guest=guest)), "-device") if "drive=overlay" in value]
    controllers = ["-device", "virtio-scsi-pci,id=scsi"] if bus == "scsi" else []
    words = ["-machine", "pc-q35-10.0", "-accel", "tcg", "-m", "64", "-S", "-nodefaults", "-display", "none"]
    words += ["-object", "iothread,id=io", "-blockdev", "null-co,node-name=overlay,size=1048576", *controllers]
    words += ["-device", f"{disk},id=disk".replace(",werror=enospc,rerror=report", ""), "-qmp", "stdio"]
    asked = {"path": "/machine/peripheral/disk", "property": "logical_block_size"}
    lines = [{"execute": "qmp_capabilities"}, {"execute": "qom-get", "arguments": asked}, {"execute": "quit"}]
    given = "\n".join(map(json.dumps, lines))
    done = subprocess.run(
        ["qemu-system-x86_64", *words], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert '{"return": 4096}' in done.stdout, done.stderr
    assert "block_size" not in " ".join(command())


def test_a_disk_that_goes_past_the_nodes_cache_does_so_in_every_layer() -> None:
    warm = Warm(disk="/w/disk", memory="/w/memory", state="/w/state", variables="", cpu="max", hook=())
    plan = replace(PLAN, warm=warm)

    def nodes(plan: Plan) -> list[dict[str, object]]:
        drives = [json.loads(text) for text in values(command(plan), "-blockdev")]
        return [node for node in drives if node["node-name"] in ("layer0", "layer1", "warm", "overlay")]

    for node in nodes(replace(plan, direct_disk=True)):
        assert node["cache"]["direct"] is True  # type: ignore[index]
        assert node["file"]["cache"]["direct"] is True  # type: ignore[index]
    assert "direct" not in json.dumps(nodes(plan))
    assert len(nodes(plan)) == 4
