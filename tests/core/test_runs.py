import errno
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from ipoke.core import model_files
from ipoke.core.errors import InputError
from ipoke.core.files import replacing, write_text
from ipoke.core.model_files import model_metadata, read_tensors, recipe_from_metadata, write_tensors
from ipoke.core.runs import Run
from tiny import tiny_recipe

INPUTS = {"clips_sha256": "a", "perceptual_sha256": None, "ipoke": "0.1.0"}


def begin(folder, inputs=INPUTS):
    """Begin a run, and let it have learned something."""
    run = Run.open(folder, tiny_recipe(), inputs)
    write_text(run.checkpoint("autoencoder"), "weights")
    return run


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def only(path):
    """Tell that a file is all that its folder holds."""
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_failure_in_the_middle_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail_in_the_middle():
        with replacing(path) as partial:
            partial.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_in_the_middle()
    assert path.read_text() == "old"
    assert only(path)


def test_a_file_appears_whole_and_under_its_own_name(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as partial:
        assert partial.parent == path.parent
        assert partial.suffix == ".txt"
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert only(path)


def test_a_full_disk_is_said_and_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def half_written(self, text, encoding):
        self.write_bytes(text.encode()[:2])
        full_disk()

    monkeypatch.setattr(Path, "write_text", half_written)
    with pytest.raises(InputError, match=r"\(No space left on device\); check the folder"):
        write_text(path, "newer")
    assert path.read_bytes() == b"old"
    assert only(path)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"w": torch.ones(3)}, {"clips": "1"})

    def half_written(descriptor):
        os.truncate(descriptor, 4)
        full_disk()

    monkeypatch.setattr(os, "fsync", half_written)
    with pytest.raises(InputError, match="No space left on device"):
        write_tensors(path, {"w": torch.zeros(3)}, {"clips": "2"})
    tensors, metadata = read_tensors(path)
    assert tensors["w"].tolist() == [1, 1, 1]
    assert metadata == {"clips": "1"}
    assert only(path)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "file" / "inner.txt", "text")


def test_tensors_come_back_with_type_shape_and_metadata(tmp_path):
    path = tmp_path / "t.safetensors"
    tensors = {
        "turned": torch.arange(6.0).view(2, 3).T,
        "number": torch.tensor(7),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "flag": torch.tensor([True]),
        "empty": torch.empty(0, 3),
        "double": torch.tensor(1.5, dtype=torch.float64),
        **{str(kind): torch.ones(2, dtype=kind) for kind in model_files.DTYPES},
        "learned": torch.ones(2, requires_grad=True),
    }
    write_tensors(path, tensors, {"a": "ü"})
    read, metadata = read_tensors(path)
    assert metadata == {"a": "ü"}
    assert path.read_bytes() == save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, metadata)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def broken_files(folder):
    write_tensors(folder / "good.safetensors", {"w": torch.ones(100)}, {})
    good = (folder / "good.safetensors").read_bytes()
    return {
        "empty": b"",
        "short": good[:5],
        "truncated": good[:-7],
        "header cut": good[:30],
        "noise": bytes(range(256)) * 9,
        "huge header": b"\xff" * 8 + good[8:],
        "header not json": good[:8] + b"#" + good[9:],
        "pickle": pickle.dumps(Payload(folder / "executed")),
    }


def test_broken_and_foreign_files_are_refused_and_not_executed(tmp_path):
    for what, content in broken_files(tmp_path).items():
        path = tmp_path / "broken.safetensors"
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot read this checkpoint") as caught:
            read_tensors(path)
        assert "\n" not in str(caught.value), what
    assert not (tmp_path / "executed").exists()
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match="cannot read this checkpoint"):
            read_tensors(path)


def test_a_torch_checkpoint_is_not_executed_either(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"w": Payload(tmp_path / "executed")}, path)
    with pytest.raises(InputError):
        read_tensors(path)
    assert not (tmp_path / "executed").exists()


def test_a_model_carries_its_recipe(tmp_path):
    recipe, path = tiny_recipe(), tmp_path / "m.safetensors"
    metadata = model_metadata(recipe, {"seed": "5"})
    assert recipe_from_metadata(metadata, path) == recipe
    assert metadata["seed"] == "5"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "elsewhere-2"}, "got elsewhere-2, expected ipoke-model-1"),
        ({"recipe": "{"}, "recipe is missing or corrupt"),
        ({"recipe": "[]"}, "m.safetensors: "),
        ({"recipe": '{"latent_chanels": 1}'}, "did you mean latent_channels"),
    ],
)
def test_a_foreign_model_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        recipe_from_metadata(model_metadata(tiny_recipe(), {}) | change, Path("m.safetensors"))


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.ones(2)}, path)
    tensors, metadata = read_tensors(path)
    assert (tensors.keys(), metadata) == ({"w"}, {})
    with pytest.raises(InputError, match="not an ipoke model"):
        recipe_from_metadata(metadata, path)
    with pytest.raises(InputError, match="recipe is missing"):
        recipe_from_metadata({"format": model_files.FORMAT}, path)


def test_a_run_is_opened_again_with_the_same_settings(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    Run.open(folder, tiny_recipe(), INPUTS)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert before.keys() == {"settings.toml", "inputs.json"}
    Run.open(folder, tiny_recipe(), INPUTS | {"torch": "another version"})
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_run_from_before_a_key_existed_goes_on_with_its_default(tmp_path):
    begin(tmp_path, {})
    settings = tmp_path / "settings.toml"
    before = settings.read_text()
    settings.write_text(before.replace('method = "ipoke"\n', ""))
    assert settings.read_text() != before
    Run.open(tmp_path, tiny_recipe(), {})
    with pytest.raises(InputError, match='method was "ipoke", got "cvae"'):
        Run.open(tmp_path, tiny_recipe("method=cvae"), {})
    settings.write_text("no settings")
    with pytest.raises(InputError, match="other settings"):
        Run.open(tmp_path, tiny_recipe(), {})


def test_a_run_with_other_settings_is_refused_with_every_key_named(tmp_path):
    begin(tmp_path / "run")
    other = tiny_recipe("train.latent_flow.batch=3", "autoencoder_losses.perceptual_weights=here", "latent_channels=6")
    with pytest.raises(InputError) as caught:
        Run.open(tmp_path / "run", other, INPUTS)
    message = str(caught.value)
    assert "train.latent_flow.batch was 16, got 3" in message
    assert 'autoencoder_losses.perceptual_weights was unset, got "here"' in message
    assert "latent_channels was 8, got 6" in message
    assert message.count(" was ") == 4  # the run itself "was started"


@pytest.mark.parametrize("key", ["clips_sha256", "perceptual_sha256"])
def test_a_run_with_other_data_is_refused(tmp_path, key):
    begin(tmp_path / "run")
    with pytest.raises(InputError, match=f"{key} .*, got other"):
        Run.open(tmp_path / "run", tiny_recipe(), INPUTS | {key: "other"})


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty and not a run"):
        Run.open(tmp_path, tiny_recipe(), INPUTS)
    assert only(tmp_path / "thesis.tex")


STARTED = ("inputs.json", "settings.toml", "plan.json", "metrics.jsonl", "samples/autoencoder-00000002.png")
"""What a run consists of before its first checkpoint, in the order in which it is written."""


@pytest.mark.parametrize("count", range(len(STARTED) + 1))
@pytest.mark.parametrize("other", [(), ("train.seed=8",)])
def test_what_has_learned_nothing_is_started_anew(tmp_path, count, other):
    Run.open(tmp_path, tiny_recipe(), INPUTS)
    for name in STARTED[2:count]:
        write_text(tmp_path / name, "{}\n")
    for name in STARTED[count:2]:
        (tmp_path / name).unlink()
    (tmp_path / ".ipoke-0a1b2c3d-settings.toml").write_text("what a kill left")
    with Run.writing(tmp_path, tiny_recipe(*other), INPUTS):
        assert not (tmp_path / ".ipoke-0a1b2c3d-settings.toml").exists()
    kept = set(STARTED[:count] if not other and count > 1 else ()) | {"inputs.json", "settings.toml"}
    assert contents(tmp_path).keys() == kept
    Run.open(tmp_path, tiny_recipe(*other), INPUTS)


@pytest.mark.parametrize("foreign", ["settings.toml", "inputs.json", "samples/kick.wav", "metrics.jsonl", "plan.json"])
def test_what_only_looks_like_the_start_of_a_run_is_kept(tmp_path, foreign):
    write_text(tmp_path / foreign, "[tool]\nname = 'theirs'\n")
    before = contents(tmp_path)
    with (
        pytest.raises(InputError, match=r"another --out|new folder as --out|restore"),
        Run.writing(tmp_path, tiny_recipe(), INPUTS),
    ):
        pass
    assert contents(tmp_path) == before


@pytest.mark.parametrize("foreign", ["samples/kick.wav", "checkpoints/mine.safetensors", "thesis.tex"])
def test_a_run_with_something_else_in_it_is_not_begun_anew(tmp_path, foreign):
    Run.open(tmp_path, tiny_recipe(), INPUTS)
    write_text(tmp_path / foreign, "years of work")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="other settings"):
        Run.open(tmp_path, tiny_recipe("train.seed=8"), INPUTS)
    assert contents(tmp_path) == before


def test_a_mistake_before_the_first_step_leaves_nothing(tmp_path):
    out = tmp_path / "deep" / "run"

    def fail():
        with Run.writing(out, tiny_recipe(), INPUTS) as run:
            write_text(run.folder / "plan.json", "{}")
            raise InputError("wrong weights")

    with pytest.raises(InputError, match="wrong weights"):
        fail()
    assert not list(tmp_path.iterdir())
    begin(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="wrong weights"), Run.writing(tmp_path, tiny_recipe(), INPUTS):
        raise InputError("wrong weights")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["checkpoints", "samples", "metrics.jsonl"])
def test_a_run_does_not_write_elsewhere_through_links(tmp_path, name):
    begin(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{name}: is a link"):
        Run.open(tmp_path / "run", tiny_recipe(), INPUTS)
    assert not list(elsewhere.iterdir())


def test_a_torn_row_is_cut_off_before_the_next(tmp_path):
    run = Run(tmp_path)
    run.log({"clips": 1})
    with run.metrics.open("a") as file:
        file.write('{"clips": 2, "lo')
    run.log({"clips": 3})
    assert [json.loads(line)["clips"] for line in run.metrics.read_text().splitlines()] == [1, 3]


def test_damaged_inputs_are_said(tmp_path):
    begin(tmp_path)
    (tmp_path / "inputs.json").write_text('{"clips_sha')
    with pytest.raises(InputError, match=r"inputs\.json"):
        Run.open(tmp_path, tiny_recipe(), INPUTS)


def test_metrics_rows_after_a_resume(tmp_path):
    run = Run(tmp_path)
    run.drop_log_after("autoencoder", 0)
    rows = [("autoencoder", 8), ("autoencoder", 32), ("image_encoder", 8), ("image_encoder", 16), ("image_encoder", 24)]
    for stage, clips in rows:
        run.log({"stage": stage, "clips": clips})
    path = tmp_path / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"stage": "image_en')
    run.drop_log_after("image_encoder", 16)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["stage"], row["clips"]) for row in kept] == rows[:4]
    assert all(row["time"] > 0 for row in kept)
    run.log({"stage": "image_encoder", "clips": 24})
    assert len(path.read_text().splitlines()) == 5


def test_a_full_disk_is_said_when_a_row_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        Run(tmp_path).log({"stage": "autoencoder"})


def test_a_file_is_hashed_by_its_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert model_files.file_sha256(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()
