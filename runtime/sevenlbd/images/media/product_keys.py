"""The keys by which Setup chooses an edition: Microsoft's own, public ones. They install, and activate nothing.

Consumer media without a key may stop at the page that asks for one. Sources: learn.microsoft.com, "Key Management
Services (KMS) client activation and product keys", and the generic keys that Windows shows before it is activated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class _Keys(NamedTuple):
    consumer: str
    """Generic key of retail media; empty for an edition that there is on volume media only."""
    volume: str
    """Client key for the site's own KMS; empty for an edition that is never volume-licensed."""


# By the edition's id in the disc's own list (WINDOWS/EDITIONID).
_CLIENTS: Mapping[str, _Keys] = {
    "Core": _Keys("YTMG3-N6DKC-DKB77-7M9GH-8HVX7", ""),
    "CoreN": _Keys("4CPRK-NM3K3-X6XXQ-RXX86-WXCHW", ""),
    "CoreSingleLanguage": _Keys("BT79Q-G7N6G-PGBYW-4YWX6-6F4BT", ""),
    "Professional": _Keys("VK7JG-NPHTM-C97JM-9MPGT-3V66T", "W269N-WFGWX-YVC9B-4J6C9-T83GX"),
    "ProfessionalN": _Keys("2B87N-8KFHP-DKV6R-Y2C8J-PKCKT", "MH37W-N47XK-V7XM9-C7227-GCQG9"),
    "ProfessionalEducation": _Keys("8PTT6-RNW4C-6V7J2-C2D3X-MHBPB", "6TP4R-GNPTD-KYYHQ-7B7DP-J447Y"),
    "ProfessionalWorkstation": _Keys("DXG7C-N36C4-C4HTG-X4T3X-2YV77", "NRG8B-VKK3Q-CXVCJ-9G2XF-6Q84J"),
    "Education": _Keys("YNMGQ-8RYV3-4PGQ3-C8XTP-7CFBY", "NW6C2-QMPVW-D7KKK-3GKT6-VCFB2"),
    "EducationN": _Keys("", "2WH4N-8QGBV-H22JP-CT43Q-MDWWJ"),
    "Enterprise": _Keys("XGVPP-NMH47-7TTHJ-W3FW7-8HV2C", "NPPR9-FWDCX-D2C8J-H872K-2YT43"),
    "EnterpriseN": _Keys("", "DPH2V-TTNVB-4X9Q3-TJR4H-KHJW4"),
    "EnterpriseS": _Keys("", "M7XTQ-FN8P6-TTKYV-9D4CC-J462D"),
}
# By the first build of each Windows Server.
_SERVERS: Mapping[int, Mapping[str, str]] = {
    14393: {"ServerStandard": "WC2BQ-8NRM3-FDDYY-2BFGV-KHKQY", "ServerDatacenter": "CB7KF-BWN84-R7R2Y-793K2-8XDDG"},
    17763: {"ServerStandard": "N69G4-B89J2-4G8F4-WWYCC-J464C", "ServerDatacenter": "WMDGN-G9PQG-XVVXX-R3X43-63DFG"},
    20348: {"ServerStandard": "VDYBN-27WPP-V4HQT-9VMD4-VMK7H", "ServerDatacenter": "WX4NM-KYWYW-QJJR4-XV3QB-6VM33"},
    26100: {"ServerStandard": "TVRH6-WHNXV-R9WG3-9XRFY-MY832", "ServerDatacenter": "D764K-2NDRG-47T6Q-P8T8W-YP6DF"},
}
_EVALUATION = "Eval"


def is_evaluation(edition: str) -> bool:
    """Whether an edition's id is that of an evaluation: it asks for no key, and ends some months later."""
    return edition.endswith(_EVALUATION)


def fitting(edition: str, build: int, *, volume: bool) -> str:
    """The key for an edition's id on media of its channel; empty when none is wanted, or none is known."""
    if is_evaluation(edition):
        return ""
    if edition.startswith("Server"):
        known = _SERVERS[max((first for first in _SERVERS if first <= build), default=min(_SERVERS))]
        return known.get(edition, "")
    keys = _CLIENTS.get(edition, _Keys("", ""))
    return (keys.volume if volume else keys.consumer) or keys.volume
