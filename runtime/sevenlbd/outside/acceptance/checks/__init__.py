"""What is checked, a module a group. Each check looks at the evidence alone.

- node: the node and its CPU
- starting: starts, devices, drivers, errors
- security: Secure Boot, TPM, BitLocker, power
- clock: the time
- account: the account and its groups
- certificate: the RDP server's certificate
- ending: shut-down and notices
- warmth: warm starts
- licence: activation and evaluation
- hygiene: what an image must not hold
"""

from __future__ import annotations

from . import account, certificate, clock, ending, hygiene, licence, node, security, starting, warmth

ALL = (
    *node.CHECKS,
    *starting.CHECKS,
    *security.CHECKS,
    *clock.CHECKS,
    *account.CHECKS,
    *certificate.CHECKS,
    *ending.CHECKS,
    *warmth.CHECKS,
    *licence.CHECKS,
    *hygiene.CHECKS,
)
