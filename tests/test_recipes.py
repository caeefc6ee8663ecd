"""Each row's recipe is that of the results tables; learning rates against values computed by hand."""

from __future__ import annotations

import json
import re

import pytest

from pipeline.skeletons import skeleton_from
from tests.helpers import golden_path
from tests.tiny_data import HORSE
from train.augment import EDGE, REFERENCE, REFERENCE_MPII
from train.recipes import recipe_of
from train.schedule import Schedule
from train.zoo import read_zoo, zoo_model


def test_every_row_has_the_settings_of_its_configuration() -> None:
    rows = {
        re.sub(r"_(dark|plus)", "", f"{data}_{network}_{size}"): row
        for row in json.loads(golden_path("zoo.json").read_text())["models"]
        for network, data, size in [
            re.match(r"topdown_heatmap_(\w+?)_(?:coco_)?(coco|mpii|wholebody)_(\d+x\d+)", row["name"]).groups()  # type: ignore[union-attr]
        ]
    }
    assert rows.keys() == read_zoo().keys() - {"edge_coco_256x192", "edge_coco_128x96", "coco_edge_large_256x192"}
    for name, row in rows.items():
        recipe = recipe_of(zoo_model(name))
        schedule, steps = recipe.schedule, row["lr_config"]
        assert recipe.batch == row["data"]["samples_per_gpu"], name
        assert row["optimizer"] == {"type": "Adam", "lr": schedule.learning_rate} and schedule.weight_decay == 0
        assert (list(schedule.milestones), schedule.epochs) == (steps["step"], row["total_epochs"])
        assert (schedule.warmup_steps, schedule.warmup_start) == (steps["warmup_iters"], steps["warmup_ratio"])
        assert row["optimizer_config"]["grad_clip"] is schedule.largest_gradient
        assert schedule.validate_every == row["evaluation"]["interval"] and schedule.ema_decay is None
        kinds = {step["type"]: step for step in row["train_pipeline"]}
        assert recipe.augmentation == (REFERENCE_MPII if "mpii" in name else REFERENCE)
        assert ("TopDownHalfBodyTransform" in kinds) == (recipe.augmentation.half_body_probability > 0)
        assert kinds["TopDownGetRandomScaleRotation"]["rot_factor"] == recipe.augmentation.rotation
        assert kinds["TopDownGetRandomScaleRotation"]["scale_factor"] == recipe.augmentation.scale_limit


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0005 * 0.001),
        (250, 0.0005 * 0.5005),  # half of the way from a thousandth to the whole
        (499, 0.0005 * (0.001 + 0.999 * 499 / 500)),
        (500, 0.0005),
        (170 * 1000 - 1, 0.0005),
        (170 * 1000, 0.00005),
        (200 * 1000 - 1, 0.00005),
        (200 * 1000, 0.000005),
        (210 * 1000 - 1, 0.000005),
    ],
)
def test_the_reference_warms_up_and_steps_down(step: int, rate: float) -> None:
    schedule = recipe_of(zoo_model("coco_res50_256x192")).schedule
    assert schedule.learning_rate * schedule.rate(step, 1000) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.005), (100, 0.5025), (200, 1.0), (650, 0.505), (1100, 0.01)])
def test_the_edge_recipe_warms_up_and_falls_by_half_a_cosine(step: int, rate: float) -> None:
    schedule = recipe_of(zoo_model("edge_coco_256x192")).schedule
    assert (schedule.epochs, schedule.learning_rate) == (11, 1e-3)
    assert schedule.rate(step, 100) == pytest.approx(rate, rel=1e-9)


def test_a_short_training_reaches_the_whole_rate() -> None:
    schedule = recipe_of(zoo_model("edge_coco_256x192")).schedule.lasting(3)
    rates = [schedule.rate(step, 10) for step in range(30)]
    assert max(rates) == rates[10] == pytest.approx(1.0) and rates[29] < 0.05


def test_the_edge_network_and_users_own_data_have_recipes_too() -> None:
    edge = recipe_of(zoo_model("edge_coco_256x192"))
    assert (edge.batch, edge.augmentation, edge.frozen_blocks, edge.loss_scale) == (32, EDGE, 6, 1000.0)
    assert recipe_of(zoo_model("coco_edge_large_256x192")) == edge
    horse = skeleton_from(HORSE)
    assert recipe_of(zoo_model("coco_hrnet_w48_256x192").for_data("horse", horse)).batch == 32
    assert recipe_of(zoo_model("mpii_hrnet_w32_256x256").for_data("horse", horse)).augmentation == REFERENCE


def test_fewer_epochs_keep_the_milestones_in_their_places() -> None:
    schedule = recipe_of(zoo_model("coco_res50_256x192")).schedule.lasting(21)
    assert (schedule.epochs, schedule.milestones) == (21, (17, 20))


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0.0}, {"trunk_rate": 0.0}, {"epochs": -1}, {"validate_every": 0}, {"seed": -1}]
)
def test_impossible_values_are_named(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name.replace("_", " ")):
        Schedule(**{"epochs": 1, "learning_rate": 0.1, **wrong})  # type: ignore[arg-type]
