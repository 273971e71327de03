"""Installation discs as files: written, read, and recognised.

- authenticode: who signed a disc's boot loader
- disc_files: discs as files: ISO 9660, Joliet, UDF
- product_keys: by which Setup chooses an edition
- setup_media: Microsoft's disc, and the drivers'
- wim: the Windows editions on a disc
"""
