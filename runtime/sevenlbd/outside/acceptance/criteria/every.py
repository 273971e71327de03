"""All criteria, in the order of the report."""

from __future__ import annotations

from . import (
    account_criteria,
    boot_criteria,
    certificate_criteria,
    clock_criteria,
    desktop_criteria,
    disk_criteria,
    end_criteria,
    exec_criteria,
    files_criteria,
    hygiene_criteria,
    licence_criteria,
    network_criteria,
    node_criteria,
    security_criteria,
    setup_criteria,
    warm_criteria,
)

ALL = (
    *node_criteria.CRITERIA,
    *setup_criteria.CRITERIA,
    *boot_criteria.CRITERIA,
    *security_criteria.CRITERIA,
    *clock_criteria.CRITERIA,
    *account_criteria.CRITERIA,
    *certificate_criteria.CRITERIA,
    *end_criteria.CRITERIA,
    *exec_criteria.CRITERIA,
    *warm_criteria.CRITERIA,
    *desktop_criteria.CRITERIA,
    *files_criteria.CRITERIA,
    *disk_criteria.CRITERIA,
    *network_criteria.CRITERIA,
    *licence_criteria.CRITERIA,
    *hygiene_criteria.CRITERIA,
)
