"""Disks from elsewhere: told what they are, read without harm, looked into, and made a version of."""
