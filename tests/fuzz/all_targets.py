"""Every target, by name."""

from __future__ import annotations

from . import (
    answer_targets,
    egress_targets,
    gateway_targets,
    grid_targets,
    guest_targets,
    image_targets,
    message_targets,
)
from .target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        *(message_targets, guest_targets, answer_targets, gateway_targets, image_targets, egress_targets, grid_targets),
    )
    for target in module.TARGETS
}
