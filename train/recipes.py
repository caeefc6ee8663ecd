"""How each network is trained: the recipe of the results tables for the zoo's rows, and that of our small networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from train.augment import EDGE as EDGE_AUGMENTATION
from train.augment import REFERENCE as REFERENCE_AUGMENTATION
from train.augment import REFERENCE_MPII as MPII_AUGMENTATION
from train.augment import Augmentation
from train.schedule import Schedule
from train.zoo import ZooModel


@dataclass(frozen=True)
class Recipe:
    """What a pose network's training takes beside data.

    batch: samples that a process takes at a time. loss_scale: what the loss is multiplied by.
    frozen_blocks: of a trunk of inverted residuals, with its stem, that keep the weights they begin with.
    """

    schedule: Schedule
    batch: int
    augmentation: Augmentation
    loss_scale: float = 1.0
    frozen_blocks: int = 0


# MMPose 0.29's configurations of DarkPose, the same for all rows but the batch. Without decay, AdamW is Adam.
REFERENCE = Recipe(
    Schedule(
        epochs=210,
        learning_rate=5e-4,
        milestones=(170, 200),
        warmup_steps=500,
        warmup_start=0.001,
        trunk_rate=1.0,
        weight_decay=0.0,
        largest_gradient=None,
        ema_decay=None,
        validate_every=10,
    ),
    batch=64,
    augmentation=REFERENCE_AUGMENTATION,
)
HALF_BATCH = {"res152": (), "hrnet_w48": ("mpii",)}  # networks, and the skeletons for which they take a whole one
# Our small networks learn from little data: their trunks have seen people and are to change little, their first blocks
# not at all; weights decay and are averaged.
SMALL = Schedule(epochs=11, learning_rate=1e-3, trunk_rate=0.2)
EDGE_NETWORKS = ("edge", "edge_large")
EDGE = Recipe(SMALL, batch=32, augmentation=EDGE_AUGMENTATION, loss_scale=1000.0, frozen_blocks=6)
# The detector's head has seen people as well.
DETECTOR_SCHEDULE, DETECTOR_BATCH = replace(SMALL, epochs=4, learning_rate=2e-4), 16
DETECTOR_FROZEN_STAGES = 2


def recipe_of(model: ZooModel) -> Recipe:
    """The recipe of a row of the zoo, or of its like for a data set of a user's own."""
    if model.network in EDGE_NETWORKS:
        return EDGE
    recipe = REFERENCE
    if model.network in HALF_BATCH and model.skeleton.name not in HALF_BATCH[model.network]:
        recipe = replace(recipe, batch=32)
    if model.skeleton.name == "mpii":
        recipe = replace(recipe, augmentation=MPII_AUGMENTATION)
    return recipe
