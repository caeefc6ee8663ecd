"""A student learns from a teacher: its loss, people without keypoints, and checkpoints that cannot teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.skeletons import COCO
from tests.tiny_tasks import TinyNetwork, drawn_data, quick, tiny_model
from train.augment import EDGE
from train.checkpoints import model_entry
from train.datasets.data_file import DataSet
from train.datasets.people import PeopleDataset
from train.distillation import Teacher, read_teacher
from train.loop import fit, normalise
from train.tasks import PoseTask, joints_mse
from train.torch_engine import flip_merge
from train.zoo import zoo_model


@pytest.fixture
def teacher() -> Teacher:
    torch.manual_seed(3)
    return Teacher(TinyNetwork(17).eval(), 0.25, "teacher.pt", COCO.flip_order)


def half_labelled(folder: Path) -> DataSet:
    """Twelve people, of every second only a box, and one region to be ignored."""
    data = drawn_data(folder)
    pictures, weight = data.train[0]
    boxed = [
        replace(p, people=tuple(replace(each, joints=each.joints if n % 2 else None) for each in p.people))
        for n, p in enumerate(pictures)
    ]
    boxed[0] = replace(boxed[0], people=tuple(replace(each, ignore=True) for each in boxed[0].people))
    return replace(data, train=[(boxed, weight)])


def test_the_loss_is_shared_between_labels_and_teacher(tmp_path: Path, teacher: Teacher) -> None:
    task = PoseTask(tiny_model(), drawn_data(tmp_path), quick(loss_scale=1.0), teacher=teacher)
    network = TinyNetwork(17).eval()
    crops, plain = torch.randint(0, 256, (2, 2, 64, 48, 3), dtype=torch.uint8)
    heatmaps, weights = torch.rand(2, 17, 16, 12), torch.zeros(2, 17)
    weights[0] = 1
    with torch.no_grad():
        found = network(normalise(crops))
        labels = joints_mse(found, heatmaps, weights)
        taught = (found - teacher.heatmaps(normalise(plain))).square().mean()
        assert task.loss(network, (crops, heatmaps, weights, plain)).item() == pytest.approx(
            0.75 * labels.item() + 0.25 * taught.item(), rel=1e-5
        )


def test_the_teacher_runs_the_flip_test(teacher: Teacher) -> None:
    """Of a crop and its mirror image it finds mirror images, but for the column by which the flip test moves one."""
    images = torch.rand(2, 3, 64, 48)
    found, mirrored = teacher.heatmaps(images), teacher.heatmaps(images.flip(3))
    alone = teacher.network(images)
    assert torch.equal(found, flip_merge(alone, teacher.network(images.flip(3)), COCO.flip_order))
    assert not torch.allclose(found, alone, atol=1e-4)
    back = mirrored[:, list(COCO.flip_order)].flip(3)
    assert (found[..., 1:-1] - back[..., 1:-1]).abs().mean() < (found - alone).abs().mean()


def test_several_teach_what_they_find_on_average(tmp_path: Path) -> None:
    student, files = zoo_model("edge_coco_128x96"), []
    for number in range(2):
        torch.manual_seed(number)
        files.append(tmp_path / f"{number}.pt")
        described = {"figures": {}, "model": model_entry(student)}
        torch.save({"network": student.build().state_dict(), **described}, files[-1])
    images = torch.rand(2, 3, 128, 96)
    first, second = (read_teacher([(file, 1.0)], student).heatmaps(images) for file in files)
    both = read_teacher([(files[0], 3.0), (files[1], 1.0)], student)
    torch.testing.assert_close(both.heatmaps(images), 0.75 * first + 0.25 * second)
    assert not torch.allclose(first, second, atol=1e-4)
    assert both.source == f"{files[0]}=3, {files[1]}=1"


def test_the_teacher_sees_the_crop_before_its_appearance_changed(tmp_path: Path) -> None:
    """But what is cut off is cut off of both."""
    model, ((pictures, _),) = tiny_model(), drawn_data(tmp_path).train
    changed = replace(EDGE, cut_probability=1.0, rotation_probability=0.0)
    people = PeopleDataset(pictures, model.skeleton, model.input_size, model.sigma, changed, teacher_times=1)
    plain = replace(changed, appearance=False)
    unchanged = PeopleDataset(pictures, model.skeleton, model.input_size, model.sigma, plain, teacher_times=1)
    differing = 0
    for index in range(len(people)):
        torch.manual_seed(index)
        crop, _, _, seen = people[index]
        torch.manual_seed(index)
        alike = unchanged[index]
        assert np.array_equal(alike[0], seen) and np.array_equal(alike[3], seen)
        differing += not np.array_equal(crop, seen)
    assert differing > len(people) / 2


def test_a_teacher_of_larger_crops_sees_them_and_says_what_lies_on_the_students_px(tmp_path: Path) -> None:
    model, ((pictures, _),) = tiny_model(), drawn_data(tmp_path).train
    cut = replace(EDGE, cut_probability=0.5, appearance=False)
    for index in range(4):
        samples = []
        for times in (1, 2):
            people = PeopleDataset(pictures, model.skeleton, model.input_size, model.sigma, cut, teacher_times=times)
            torch.manual_seed(index)
            samples.append(people[index])
        (crop, heatmaps, _, same), (again, expected, _, larger) = samples
        assert np.array_equal(crop, same) and np.array_equal(crop, again) and np.array_equal(heatmaps, expected)
        assert larger.shape == (128, 96, 3)
        assert np.abs(larger[::2, ::2].astype(float) - crop).mean() < 1.0
    network = TinyNetwork(17).eval()
    images = torch.rand(1, 3, 128, 96)
    found = Teacher(network, 0.5, "teacher.pt", COCO.flip_order, times=2).heatmaps(images)
    whole = Teacher(network, 0.5, "teacher.pt", COCO.flip_order).heatmaps(images)
    assert found.shape == (1, 17, 16, 12) and torch.equal(found, whole[..., ::2, ::2])


def test_people_without_keypoints_are_for_the_teacher(tmp_path: Path, teacher: Teacher) -> None:
    data = half_labelled(tmp_path)
    alone = PoseTask(tiny_model(), data, quick())
    taught = PoseTask(tiny_model(), data, quick(), teacher=teacher)
    ((few, _),), ((many, _),) = alone.samples.parts, taught.samples.parts
    assert (len(few), len(many)) == (6, 11)
    weights = np.stack([many[i][2] for i in range(len(many))])
    assert sorted(weights.max(1).tolist()) == [0.0] * 5 + [1.0] * 6


def test_the_student_comes_to_resemble_the_teacher(tmp_path: Path, teacher: Teacher) -> None:
    recipe = quick(epochs=60, learning_rate=0.05, ema_decay=None, validate_every=60)
    task = PoseTask(tiny_model(), half_labelled(tmp_path / "data"), recipe, teacher=replace(teacher, share=1.0))
    ((people, _),) = task.samples.parts
    images = normalise(torch.from_numpy(np.stack([people[i][0] for i in range(len(people))])))

    def apart() -> float:
        with torch.no_grad():
            return float((task.network.eval()(images) - teacher.heatmaps(images)).square().mean())

    before = apart()
    fit(task, recipe.schedule, tmp_path / "run", torch.device("cpu"))
    assert apart() < 0.3 * before


def test_who_cannot_teach_is_refused(tmp_path: Path) -> None:
    student = zoo_model("coco_res50_256x192")
    other = zoo_model("edge_coco_256x192")
    file = tmp_path / "best.pt"
    for model, message in (
        (replace(other, input_size=(96, 128)), "crops of 128x96 px"),
        (other.for_data("mpii", zoo_model("mpii_hrnet_w32_256x256").skeleton), "skeleton 'mpii'"),
    ):
        torch.save({"network": model.build().state_dict(), "figures": {}, "model": model_entry(model)}, file)
        with pytest.raises(ValueError, match=message):
            read_teacher([(file, 1.0)], student)
    torch.save({"network": other.build().state_dict(), "figures": {}, "model": model_entry(other)}, file)
    assert read_teacher([(file, 1.0)], student).share == 0.5
    small = zoo_model("edge_coco_128x96")
    assert read_teacher([(file, 1.0)], small).times == 2
    equal = tmp_path / "small.pt"
    torch.save({"network": small.build().state_dict(), "figures": {}, "model": model_entry(small)}, equal)
    with pytest.raises(ValueError, match="crops of different sizes"):
        read_teacher([(file, 1.0), (equal, 1.0)], small)
    with pytest.raises(ValueError, match="above 0 and at most 1, got 0"):
        read_teacher([(file, 1.0)], student, 0.0)
    with pytest.raises(ValueError, match="MoveNet has COCO's 17 keypoints, not skeleton 'mpii'"):
        read_teacher([(tmp_path / "movenet.json", 1.0)], zoo_model("mpii_hrnet_w32_256x256"))
