"""Builds build/7lbd.sif from Debian and Python packages, without root, and only what is out of date."""
