"""What proves that a version is unaltered, and whose: digests, manifests, signatures, and what was verified before."""
