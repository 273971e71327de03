"""Disks and memories encrypted at rest: made here, read by QEMU.

- encrypted_version: a version that lies here encrypted, and why it is believed
- luks: the header that QEMU opens with a key
- encrypted_disk: an empty disk that is encrypted
- encrypted_file: a file of an image, in pieces
- maker: the process that makes one
"""
