"""What proves that a version is unaltered, and whose: digests, manifests, signatures, and what was verified before.

- digest: SHA-256, plain or as a tree
- manifest: every file of a version
- signature: Ed25519 over a manifest
- verified: what was verified before
"""
