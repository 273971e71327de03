"""Disks from elsewhere: told what they are, read without harm, looked into, and made a version of.

- archive: the tar that an appliance is
- grains: whether a sparse VMDK is all there
- importer: a new version of a disk from elsewhere
- ova: appliances in one file
- probe: what system is on a disk
- source: what QEMU shall open, all of it named
- unpack: pieces, or what is compressed, made one file
- vdi: VirtualBox's own format
- vhdx: Hyper-V's format
- vmdk: VMware's descriptors, made harmless
- vpc: its older format
"""
