"""`image.toml`: what an image needs from its machine. Every key is declared here, once."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from ..base import text_files
from ..base.errors import ExitCode, Refusal
from ..config.settings import in_toml, in_words, nearest
from ..config.value_kinds import Size
from . import layout

# What is taken for the least memory of an image that does not say it, in bytes: a guess that finds slips, and lets
# through whatever could boot. Microsoft's requirements begin with the second of these: a Windows Server without a
# desktop.
_LEAST_GUESSED, _MOST_GUESSED, _PART_GUESSED = 64 << 20, 512 << 20, 8
SIZES = ("memory", "least_memory")
"""Keys whose values are sizes, written as `"4G"`."""


class OS(StrEnum):
    WINDOWS = "windows"
    LINUX = "linux"


class Clock(StrEnum):
    AUTO = "auto"
    UTC = "utc"
    LOCAL = "localtime"


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"
    UEFI_SECURE = "uefi-secure"


class DiskBus(StrEnum):
    VIRTIO = "virtio"
    AHCI = "ahci"
    NVME = "nvme"
    SCSI = "scsi"


class Nic(StrEnum):
    VIRTIO = "virtio"
    E1000E = "e1000e"


class DisplayDevice(StrEnum):
    AUTO = "auto"
    VIRTIO = "virtio"
    STD = "std"


class Channel(StrEnum):
    SMBIOS = "smbios"
    AGENT = "agent"


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _as_text(value: object) -> object:
    """TOML has dates of its own, which a person may take for it as well."""
    return str(value) if type(value) is date else value


class Description(BaseModel):
    """An image's description. The defaults boot an image made for BYU's 7lbd as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = Field(default=1, alias="schema", description="version of this file's format")
    name: str = Field(default="", description="the image's name")
    version: str = Field(default="", description="the image's version")
    title: str = Field(default="", description="a line for people")
    os: OS = Field(default=OS.WINDOWS, description="decides clock, CPU enlightenments and display")
    disk: str = Field(default=layout.DISK, description="the disk's file name, in the same folder")
    format: Literal["qcow2", "raw"] = Field(default="qcow2", description="the disk's format; never guessed")
    firmware: Firmware = Field(default=Firmware.UEFI, description="uefi-secure adds Secure Boot and a TPM 2.0")
    variables: str = Field(default="", description="UEFI variable store to begin from, in the same folder")
    machine: str = Field(
        default="pc-q35-10.0", pattern=r"^pc-q35-\d+\.\d+$", description="QEMU's versioned machine type"
    )
    disk_bus: DiskBus = Field(default=DiskBus.AHCI, description="the disk controller that the image has a driver for")
    logical_block_size: Literal[512, 4096] = Field(
        default=512,
        description="the sector size that the disk shows its system, in bytes; 4096 needs UEFI, and no ahci disk",
    )
    clock: Clock = Field(
        default=Clock.AUTO,
        description="what the machine's clock shows; auto: the node's local time for windows, UTC for linux. utc is "
        "for a Windows whose registry has RealTimeIsUniversal",
    )
    nic: Nic = Field(default=Nic.VIRTIO, description="the network card that the image has a driver for")
    display: DisplayDevice = Field(default=DisplayDevice.AUTO, description="auto: virtio for linux, std for windows")
    channels: Annotated[tuple[Channel, ...], BeforeValidator(_as_tuple)] = Field(
        default=(Channel.SMBIOS,), description="how the image takes its password and says that it is ready"
    )
    user: str = Field(
        default="user1",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,19}$",
        description="the account that the user logs in to",
    )
    administrator: str = Field(
        default="",
        # learn.microsoft.com, "User Name Formats": none of these is in a name in Windows, which may be of any language.
        pattern=r'^[^\x00-\x1f"/\\\[\]:;|=,+*?<>@]{0,20}$',
        description="an account that may install programs, to which `image maintain` gives its session's password, "
        "too; no other session touches it; empty: none",
    )
    memory: Size = Field(default=4 << 30, description="memory it needs")
    least_memory: Size = Field(
        default=0,
        description="the least memory that it boots with: a session with less is refused; 0: an eighth of `memory`, "
        "if that is said, between 64M and 512M",
    )
    cpus: int = Field(default=2, ge=1, le=255, description="virtual CPUs it needs")
    clipboard: bool = Field(
        default=True, description="whether its RDP server shares the clipboard; a server that cannot may break by it"
    )
    screen: str = Field(
        default="",
        pattern=r"^(\d{3,4}x\d{3,4})?$",
        description="the size of its desktop, such as 1280x800, when its RDP server has but one: a browser must know",
    )
    warm_hook: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        default=(),
        description="a program in the guest, with its arguments, that the agent runs after a warm start: the session's "
        "`user=`, `password=` and `shares=` come on its standard input, a line each",
    )
    suspend_hook: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        default=(),
        description="a program in the guest, with its arguments, that the agent runs before the desktop is suspended: "
        "it writes what the guest holds back, so that nothing written is lost",
    )
    notice_hook: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        default=(),
        description="a program in the guest, with its arguments, that the agent runs to tell the desktop's user "
        "something: the text comes on its standard input",
    )
    timezone_hook: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        default=(),
        description="a program in the guest, with its arguments, that the agent runs with the name of the user's time "
        "zone as one more argument (Windows' own for windows); empty: `tzutil.exe /s` or `timedatectl set-timezone`",
    )
    logon_hook: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        default=(),
        description="a program in the guest, with its arguments, that the agent runs before `image warm` freezes it: "
        "it has the account logged on once and off again; `user=` and `password=` come on its standard input",
    )
    exec_hook: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        default=(),
        description="a program in the guest, with its arguments, that the agent runs to have the command done that "
        "lies on the share `job`: `user=`, `password=`, `shares=` and `job=`, its folder there, come on its standard "
        "input",
    )
    exec_desktop: bool = Field(
        default=False,
        description="whether the `exec_hook` can give a command the account's visible desktop (`exec --desktop`)",
    )
    join_hook: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        default=(),
        description="a program in the guest, with its arguments, that the agent runs when the guest is to join a pool: "
        "the pool's `collector=` and the rest of the record of `run --join` come on its standard input, a line each",
    )
    join_status: str = Field(
        default="",
        pattern=r"^[^\x00-\x1f\x7f]{0,255}$",
        description="a file in the guest whose one line says what the worker does: joining, idle, busy, refused or "
        "left, and after it why",
    )
    desktop: bool = Field(
        default=True,
        description="whether there is a desktop that its RDP server shows; without one a session is ready when the "
        "agent answers, and has no page",
    )
    at_end: Literal["shutdown", "suspend"] = Field(
        default="shutdown",
        description="what becomes of a desktop when its time is up, where neither site nor user has set `at_end`",
    )
    egress: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        default=("all",),
        description="which of the site's ways out (egress_allow) this image gets, each as it stands there; `all` is "
        "all of them, an empty list none",
    )
    evaluation_ends: Annotated[str, BeforeValidator(_as_text)] = Field(
        default="",
        description="the last day of an evaluation of Windows, such as 2027-02-24: it is listed, and from ten days "
        "before sessions warn of it",
    )
    guest_access: bool = Field(default=False, description="shares without a password, as BYU's 7lbd served them")

    @property
    def last_day(self) -> date | None:
        """The last day of an evaluation; None when it is none, or nobody knows."""
        return date.fromisoformat(self.evaluation_ends) if self.evaluation_ends else None

    @property
    def boots_with(self) -> int:
        """The least memory that a session of it gets, in bytes: what it says, or what nothing boots with less than."""
        said = self.memory if "memory" in self.model_fields_set else 0  # our default tells nothing of this guest
        guessed = min(max(said // _PART_GUESSED, _LEAST_GUESSED), _MOST_GUESSED)
        return self.least_memory or guessed

    @field_validator("least_memory")
    @classmethod
    def _check_least_memory(cls, size: int, info: ValidationInfo) -> int:
        if size > info.data.get("memory", size):
            raise ValueError("it is more than `memory`, which a session gets that asks for nothing")
        return size

    @field_validator("evaluation_ends")
    @classmethod
    def _check_evaluation_ends(cls, text: str) -> str:
        if text and not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            raise ValueError("a day is written as 2027-02-24")
        if text:
            date.fromisoformat(text)
        return text

    @field_validator("logical_block_size")
    @classmethod
    def _check_logical_block_size(cls, size: int, info: ValidationInfo) -> int:
        """QEMU's ahci disk has sectors of 512 bytes and no others, and SeaBIOS boots from no others."""
        if size != 512 and info.data.get("disk_bus") is DiskBus.AHCI:
            raise ValueError('not with disk_bus = "ahci", which is the default; with nvme, virtio or scsi')
        if size != 512 and info.data.get("firmware") is Firmware.BIOS:
            raise ValueError('not with firmware = "bios"')
        return size


def read(path: Path) -> Description:
    """The description in `path`. Raises Refusal that names the key."""
    try:
        table = tomllib.loads(text_files.read(path))
    except OSError as error:
        hint = f"its owner can: chmod a+r {path}"
        raise Refusal(ExitCode.IMAGE, f"{path}: cannot be read: {error.strerror}", hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise Refusal(ExitCode.IMAGE, f"{path}: is not TOML: {error}", hint="see docs/images.md") from None
    try:
        return Description.model_validate(table)
    except ValidationError as error:
        raise _refusal(path, error) from None


def text(described: Description) -> str:
    """A description as it stands in an image.toml: what is not the default."""
    values = described.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    lines = [f"{key} = {spelled(key, value)}\n" for key, value in values.items()]
    return "schema = 1\n" + "".join(lines)


def spelled(key: str, value: object) -> str:
    """A key's value as it stands in an image.toml."""
    return in_toml("memory" if key in SIZES else "name", value)


def keys() -> list[str]:
    """Every key that an image.toml may have."""
    return [field.alias or name for name, field in Description.model_fields.items()]


def _refusal(path: Path, error: ValidationError) -> Refusal:
    first = error.errors()[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        what = f"{path}: `{key}` is not a key of image.toml{nearest(key, keys())}"
        return Refusal(ExitCode.IMAGE, what, hint=f"its keys are {', '.join(keys())}")
    message = in_words(first["msg"])
    return Refusal(ExitCode.IMAGE, f"{path}: `{key}` = {first['input']!r}: {message}", hint="see docs/images.md")
