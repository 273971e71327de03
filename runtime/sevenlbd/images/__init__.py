"""Images: what a disk is and what it asks for. Knows nothing of sessions, nor of either side.

- arrival/: Versions that come to this machine
- cache/: A node's own copies of versions
- encryption/: Disks and memories encrypted at rest
- importing/: Disks from elsewhere
- lookup/: From the name that a user gives to an image
- media/: Installation discs as files
- repository/: The repository on its disk
- signing/: What proves that a version is unaltered, and whose
- clusters: whether a qcow2 has all that its tables refer to
- description: `image.toml`: what an image asks of its machine
- evaluation: when an evaluation of Windows ends
- formats: what a disk file is, told by its bytes
- image_lock: an image in use is locked
- layout: what is called how where images are kept
- names: names of images and versions
- partitions: a partition table
- qcow2: the header of a qcow2 file
- qemu_img: qemu-img, told everything
- warm: warm states, as files
"""
