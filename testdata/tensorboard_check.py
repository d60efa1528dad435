"""Reads what `selfie` writes for TensorBoard with TensorBoard itself.

    python testdata/tensorboard_check.py target/debug/selfie

Needs tensorboard and pillow. Kills a pretraining, runs it again, and expects every step once and every number as
metrics.jsonl has it, in a TensorBoard that opens the folder afterwards and in one that was open all the time; then a
picture and a study's table.
"""

import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SMALL = (
    "--set model.width=2 --set model.depths=[1,1,1,1] --set model.heads=2 --set model.ffn=8 --set model.layers=1 "
    "--set checkpoint.every_steps=10"
).split()


def main():
    selfie = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run = folder / "run"
        command = [selfie, "pretrain", "shapes32", *SMALL, "--set", "batch=8", "--steps", "300", "--out", str(run), "-q"]
        open_all_the_time = kill_and_resume(command, run)
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        afterwards = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
        afterwards.Reload()
        for name, events in [("opened afterwards", afterwards), ("open all the time", open_all_the_time)]:
            expect_metrics(name, events, metrics)
        expect_picture(selfie, run)
        expect_table(selfie, folder)
    print("tensorboard reads every step once, the picture and the table")


def kill_and_resume(command, run):
    """Kills the run between two checkpoints, runs it again, and returns the accumulator that looked on."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    metrics = run / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 25:
        assert time.monotonic() < deadline and child.poll() is None, "the run does not get to step 25"
        time.sleep(0.01)
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    assert len(events.Scalars("loss")) >= 20, "a run that goes on can be read"
    child.send_signal(signal.SIGKILL)
    child.wait()
    events.Reload()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    # As TensorBoard does: until nothing new comes.
    for _ in range(3):
        events.Reload()
    return events


def expect_metrics(name, events, metrics):
    tags = events.Tags()["scalars"]
    assert {"loss", "accuracy", "lr", "grad_norm", "time/images_per_s"} <= set(tags), tags
    for tag in ["loss", "accuracy", "lr", "grad_norm"]:
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == list(range(1, len(metrics) + 1)), f"{name}: steps of {tag}"
        for scalar, line in zip(scalars, metrics, strict=True):
            assert math.isclose(scalar.value, line[tag], rel_tol=1e-6), f"{name}: {tag} of step {scalar.step}"
    times = [scalar.wall_time for scalar in events.Scalars("loss")]
    assert times == sorted(times) and abs(times[-1] - time.time()) < 600, f"{name}: wall times"


def expect_picture(selfie, run):
    pictures = run / "pictures"
    pictures.mkdir()
    Image.new("RGB", (6, 4), (255, 0, 0)).save(pictures / "red.png")
    subprocess.run([selfie, "report", str(run), "--tensorboard", "--csv"], check=True, stdout=subprocess.DEVNULL)
    events = EventAccumulator(str(pictures))
    events.Reload()
    (image,) = events.Images("red")
    assert (image.width, image.height) == (6, 4)
    assert image.encoded_image_string == (pictures / "red.png").read_bytes()
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert header.startswith("step,") and len(rows) == 300


def expect_table(selfie, folder):
    study = folder / "study"
    arguments = "--fractions 0.05 --seeds 2 --steps 4 --learning-rates 0.05 --set pretrain.steps=4 --set pretrain.batch=8"
    subprocess.run(
        [selfie, "study", "shapes32", *arguments.split(), *SMALL, "--set", "batch=8", "--out", str(study), "-q"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    events = EventAccumulator(str(study))
    events.Reload()
    (table,) = events.Tensors("study/text_summary")
    (text,) = table.tensor_proto.string_val
    assert text.decode() == (study / "table.md").read_text()


if __name__ == "__main__":
    main()
