"""File names that Windows forbids, or that are no text: what the guest sees instead, and what becomes of it here.

Two steps, both reversible: the character set of names (containers/appliance/charset) gives each byte that is no UTF-8 a
letter, and vfs_catia(8) puts others for the letters that Windows forbids. What forbids a name by its place or as a
whole (a dot or a space at the end, CON, control characters) is left to smbd, which gives short names (mangle_hash2.c).
"""

from __future__ import annotations

_FORBIDDEN = '"*:<>?\\|'
# They look alike, and hardly any name has them: not the wide forms, which Chinese and Japanese names are full of.
_READABLE = "\u02ba\ufe61\ufe55\ufe64\ufe65\ufe56\ufe68\u2223"
# Linux' own client shows the real letters for these, and sends these for them: Services for Macintosh', in the kernel's
# fs/smb/client/cifs_unicode.h.
_MACINTOSH = "\uf020\uf021\uf022\uf023\uf024\uf025\uf026\uf027"


def mapping(guest: str) -> str:
    """What this kind of guest has for the letters that Windows forbids, as `catia:mappings` wants it."""
    theirs = _READABLE if guest == "windows" else _MACINTOSH
    return ",".join(f"{ord(here):#04x}:{ord(there):#06x}" for here, there in zip(_FORBIDDEN, theirs, strict=True))
