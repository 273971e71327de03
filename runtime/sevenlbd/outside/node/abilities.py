"""What this node can do, found out by trying. Changes nothing, and prints nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import syscalls
from ...base.paths import is_there

_USERNS_LIMITS = ("/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone")
_COVERED = 255  # an exit code that is no errno
UNCOVERED = "outside of a container whose /proc LXCFS serves, or that masks pieces of it"
_CPUINFO = Path("/proc/cpuinfo")
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")

_NO_LIMIT = 1 << 60  # bytes; more than any node has, less than 2^63 without a page


@dataclass(frozen=True)
class Ability:
    """Whether the node can do a thing; if not, why and what mends it."""

    ok: bool
    why: str = ""
    mend: str = ""
    shown_by: str = ""
    """Apptainer's option for who starts with --contain; empty when that cannot be the trouble."""


# Questions that only the real driver answers: linux/kvm.h KVM_GET_API_VERSION, linux/if_tun.h TUNGETFEATURES.
_KVM_GET_API_VERSION, _TUNGETFEATURES = 0xAE00, 0x800454CF


def _device(path: str, mend: str, question: int | None = None) -> Ability:
    try:
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if question is not None:
                fcntl.ioctl(device, question, 0 if question == _KVM_GET_API_VERSION else bytes(4))
        finally:
            os.close(device)
    except FileNotFoundError:
        shown_by = f"--bind {path}"
        return Ability(False, f"{path} is not there", f"on the node: {mend}; with --contain: {shown_by}", shown_by)
    except PermissionError:
        return Ability(False, f"{path} may not be opened by you", f"as root on the node: {mend}")
    except OSError as error:
        if error.errno == errno.ENOTTY:
            return Ability(False, f"{path} is not that device", f"as root on the node: {mend}")
        return Ability(False, f"{path} cannot be opened: {error.strerror}", f"on the node: {mend}")
    return Ability(True)


def kvm() -> Ability:
    """KVM is usable when its device opens and the CPU offers vmx or svm: a device alone can be a paravirtual stub."""
    device = _device("/dev/kvm", "modprobe kvm_intel || modprobe kvm_amd; chmod 0666 /dev/kvm", _KVM_GET_API_VERSION)
    if not device.ok:
        return device
    if not {"vmx", "svm"} & set(_of_cpu("flags").split()):
        return Ability(
            False,
            "/dev/kvm opens, but the CPU offers neither vmx nor svm",
            "switch on virtualisation in the firmware, or nested virtualisation in the hypervisor",
        )
    return Ability(True)


def cpu_vendor() -> str:
    """The vendor as the CPU spells itself, which is what guests under KVM see: `GenuineIntel`, `AuthenticAMD` ..."""
    return _of_cpu("vendor_id")


def _of_cpu(key: str) -> str:
    """What the kernel says of the first CPU (proc(5), cpuinfo); empty when it says nothing of that."""
    match = re.search(rf"^{key}[ \t]*:[ \t]*(.*)$", _CPUINFO.read_text(), re.MULTILINE)
    return match[1] if match else ""


def tun() -> Ability:
    """/dev/net/tun opens read-write: a tap device can be made in a namespace of our own."""
    return _device("/dev/net/tun", "modprobe tun; chmod 0666 /dev/net/tun", _TUNGETFEATURES)


def fuse() -> Ability:
    """/dev/fuse opens: Apptainer mounts a SIF instead of unpacking it at each start."""
    return _device("/dev/fuse", "modprobe fuse; chmod 0666 /dev/fuse")


def user_namespaces() -> Ability:
    """A child makes the namespaces that a session needs, and tells."""
    child = os.fork()
    if child == 0:
        os._exit(_try_namespaces())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == _COVERED:
        what = "namespaces get no /proc of their own: files are mounted over the node's"
        return Ability(False, what, f"be {UNCOVERED}")
    return Ability(True) if code == 0 else without_namespaces(code)


def without_namespaces(code: int) -> Ability:
    """What it means that they cannot be made: `code` is the errno."""
    # unshare(2): ENOSPC is about the number of namespaces, not about a disk.
    why = "the limit of namespaces is reached" if code == errno.ENOSPC else os.strerror(code)
    return Ability(False, f"user namespaces cannot be made: {why}", _userns_mend())


def _try_namespaces() -> int:
    try:
        os.unshare(os.CLONE_NEWUSER)
        os.unshare(os.CLONE_NEWNET | os.CLONE_NEWNS | os.CLONE_NEWPID | os.CLONE_NEWIPC | os.CLONE_NEWUTS)
        child = os.fork()  # the first process in there
    except OSError as error:
        return error.errno or 1
    if child == 0:
        os._exit(_try_proc())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _try_proc() -> int:
    try:
        syscalls.mount("none", Path("/"), "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("proc", Path("/proc"), "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    except OSError:
        return _COVERED
    return 0


def apparmor_restricts() -> bool:
    """True where AppArmor takes the capabilities from unprivileged user namespaces (Ubuntu 23.10 and later)."""
    return _APPARMOR.exists() and _APPARMOR.read_text().strip() == "1"


def _userns_mend() -> str:
    if apparmor_restricts():
        return "as root on the node: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    low = [name for name in _USERNS_LIMITS if Path(name).exists() and Path(name).read_text().strip() == "0"]
    sysctl = Path(low[0] if low else _USERNS_LIMITS[0]).relative_to("/proc/sys")
    value = 1 if sysctl.name.endswith("clone") else 15000
    return f"as root on the node: sysctl -w {str(sysctl).replace('/', '.')}={value}"


HELPERS_MEMORY = 512 << 20
"""What QEMU itself, smbd and our own processes need beside the guest's memory."""


@dataclass(frozen=True)
class Limit:
    """An upper bound of memory in bytes, and whose it is."""

    size: int
    whose: str
    beside: int = HELPERS_MEMORY
    """What must fit in there beside the guest's memory, and for whom."""
    beside_for: str = "its helpers"
    more: str = "ask the scheduler for more (--mem={mib}M)"
    """How there is more; `mib` and `kib` are what is needed."""

    @property
    def for_guest(self) -> int:
        """What it leaves to the guest; may be less than nothing."""
        return self.size - self.beside


def memory_limit(environment: Mapping[str, str]) -> Limit:
    """The tightest of: memory free on the node, the job's allocation, the control group's limit."""
    return min(_memory_limits(environment), key=lambda limit: limit.for_guest)


def _memory_limits(environment: Mapping[str, str]) -> Iterator[Limit]:
    available = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    if available:
        yield Limit(int(available[1]) * 1024, "free on this node")
    yield from slurm_limits(environment)
    yield from cgroup_limits()


def slurm_limits(environment: Mapping[str, str]) -> Iterator[Limit]:
    """The job's allocation in MiB (sbatch(1), output environment variables); 0 is all of the node."""

    def number(name: str) -> int:
        text = environment.get(name, "")
        return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0

    if allocated := number("SLURM_MEM_PER_NODE"):
        yield Limit(allocated << 20, "in the job's allocation (SLURM_MEM_PER_NODE)")
    if allocated := number("SLURM_MEM_PER_CPU") * number("SLURM_CPUS_ON_NODE"):
        yield Limit(allocated << 20, "in the job's allocation (SLURM_MEM_PER_CPU for each of SLURM_CPUS_ON_NODE)")


def cgroup_limits(part: str = "") -> Iterator[Limit]:
    """The limits of our control group and of those that it is in; with `part`, of those that have it in their path."""
    for file in _cgroup_files():
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        # Version 1 spells "no limit" as the largest number of pages that there can be.
        if text.isdigit() and int(text) < _NO_LIMIT and (not part or part in file.parts):
            yield Limit(int(text), f"in the job's control group ({file})")


def killed_for_memory() -> int:
    """How many processes of our control group the kernel has killed for want of memory; 0 also when nobody tells."""
    for file in _cgroup_files():
        # Version 2 has it in memory.events, version 1 (since Linux 4.13) in memory.oom_control.
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                match = re.search(r"^oom_kill (\d+)$", file.with_name(name).read_text(), re.MULTILINE)
                return int(match[1]) if match else 0
    return 0


def _cgroup_files() -> Iterator[Path]:
    """The files with a memory limit, from our own control group up to the root; versions 1 and 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        root, name = Path("/sys/fs/cgroup"), "memory.max"
        if controllers:
            if "memory" not in controllers.split(","):
                continue
            root, name = root / "memory", "memory.limit_in_bytes"
        path = root / group.lstrip("/")
        while path.is_relative_to(root):
            yield path / name
            path = path.parent


def cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


def free_space(folder: Path) -> int:
    """Bytes that the user can still write at `folder`, or its nearest parent that exists."""
    while not is_there(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free
