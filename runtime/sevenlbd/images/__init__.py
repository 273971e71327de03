"""Images: what a disk is and what it asks for. Knows nothing of sessions, nor of either side.

image, description, names, warm ...   what an image is, and how the one that is wanted is found
shelf/     the repository: versions, which is current, who uses them, what may go
seal/      digests, manifests, signatures: that a version is unaltered, and whose it is
intake/    disks from elsewhere become versions
copies/    a node's own copies of versions
discs/     installation discs as files
"""
