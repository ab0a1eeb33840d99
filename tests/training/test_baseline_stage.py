import json

import pytest
import torch

from ipoke.core.errors import InputError
from ipoke.core.model_files import read_tensors
from ipoke.core.recipe import BASELINE_STAGE, STAGES, stage_stream, stages_of
from ipoke.core.runs import Run
from ipoke.data.batches import TrainingClips, training_batch
from ipoke.sampling.model import PokeModel
from ipoke.training import train as training_room
from ipoke.training.autoencoder_stage import AutoencoderStage
from ipoke.training.baseline_stage import BaselineStage
from ipoke.training.baselines.methods import METHODS, make_baseline
from ipoke.training.baselines.samplers import load_baseline
from ipoke.training.loop import TrainingStopped
from ipoke.training.stage import StepContext
from ipoke.training.train import train
from tiny import FRAMES, MovingSquares, Silent, clip_set, stop_after, tiny_recipe, training

SETTINGS = training(clips=8, stages=["autoencoder"])


def go_on(out, method, steps=1000, stage=None, overrides=()):
    recipe = tiny_recipe(*SETTINGS, f"method={method}", *overrides)
    reporter = Silent()
    train(clip_set(), recipe, out, reporter=reporter, stage=stage, should_stop=stop_after(steps))
    return reporter


def checkpoint(out):
    return read_tensors(Run(out).checkpoint(BASELINE_STAGE))[0]


def rows(out):
    kept = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key not in ("time", "clips_per_s")} for row in kept]


def make(method, *overrides):
    asked = [] if method == "sparse_warping" else ["autoencoder_losses.motion_between=2.0"]
    recipe = tiny_recipe(f"method={method}", *asked, *overrides)
    torch.manual_seed(0)
    stage = BaselineStage(make_baseline(recipe), None, torch.device("cpu"))
    poked = recipe.pokes.model_copy(update={"zero_poke_fraction": 0.0})
    return stage, training_batch(
        TrainingClips(MovingSquares(), poked, None, seed=0, with_tracks=True), first=0, batch=2
    )


def moment(progress=0.0, seed=0):
    return StepContext(0, progress, torch.Generator().manual_seed(seed))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cvae", "recurrent"])
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(method, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    go_on(once, method)
    with pytest.raises(TrainingStopped):
        go_on(twice, method, steps=2)
    assert not (twice / "model.safetensors").exists()
    go_on(twice, method)
    assert checkpoint(once).keys() == checkpoint(twice).keys()
    assert all(torch.equal(tensor, checkpoint(twice)[name]) for name, tensor in checkpoint(once).items())
    assert rows(once) == rows(twice)
    assert [row["clips"] for row in rows(once)] == [2, 4, 6, 8]
    assert {row["stage"] for row in rows(once)} == {BASELINE_STAGE}
    assert (once / "samples" / f"{BASELINE_STAGE}-00000008.png").stat().st_size > 100
    assert load_baseline(once).sha256 == load_baseline(twice).sha256
    assert load_baseline(once).facts["seed"] == "5"
    assert go_on(once, method).heard == []


@pytest.mark.parametrize("stage", ["autoencoder", "latent_flow", "baselin"])
def test_a_baseline_has_one_stage(tmp_path, stage):
    with pytest.raises(
        InputError, match=rf"--stage: got '{stage}', expected baseline, the stage of method cvae; leave"
    ):
        go_on(tmp_path, "cvae", stage=stage)
    with pytest.raises(InputError, match="--stage: got 'baseline', expected one of autoencoder, image_encoder"):
        go_on(tmp_path, "ipoke", stage=BASELINE_STAGE)
    assert list(tmp_path.iterdir()) == []


def test_the_stage_may_be_named(tmp_path):
    go_on(tmp_path, "sparse_warping", stage=BASELINE_STAGE)
    assert (tmp_path / "model.safetensors").exists()


def test_a_run_of_one_method_does_not_go_on_with_another(tmp_path):
    with pytest.raises(TrainingStopped):
        go_on(tmp_path, "sparse_warping", steps=1)
    with pytest.raises(InputError, match='method was "sparse_warping"'):
        go_on(tmp_path, "deterministic")


def test_a_baseline_sees_the_clips_of_the_autoencoder_in_their_order(tmp_path, monkeypatch):
    seen = {}
    drawn = training_room.training_batches

    def watched(*given, **settings):
        for batch in drawn(*given, **settings):
            seen.setdefault(method, []).append(batch)
            yield batch

    monkeypatch.setattr(training_room, "training_batches", watched)
    for method in ("ipoke", "cvae"):
        go_on(tmp_path / method, method, stage="autoencoder" if method == "ipoke" else None)
    assert len(seen["ipoke"]) == len(seen["cvae"]) == 4
    for first, second in zip(seen["ipoke"], seen["cvae"], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_streams_of_randomness_are_the_stages_own():
    assert [stage_stream(stage) for stage in STAGES] == [0, 1, 2, 3]
    assert stage_stream(BASELINE_STAGE) == 0
    assert stages_of(tiny_recipe()) == STAGES
    assert stages_of(tiny_recipe("method=cvae")) == (BASELINE_STAGE,)


@pytest.mark.parametrize("method", METHODS)
def test_terms_are_those_of_the_method(method):
    stage, batch = make(method, "autoencoder_losses.frames_per_step=2")
    (loss_step,) = stage.loss_steps(batch, moment())
    assert loss_step.player == BASELINE_STAGE
    own = {
        "cvae": {"kl", "motion", "motion_between"},
        "sparse_warping": set(),
        "deterministic": {"motion", "motion_between"},
        "recurrent": {"kl", "motion", "motion_between"},
    }
    assert loss_step.terms.keys() == {"reconstruction_l1", "pyramid_l1"} | own[method]


@pytest.mark.parametrize("method", METHODS)
def test_the_discriminators_meet_all_but_the_warping(method):
    stage, batch = make(method)
    moves = {loss_step.player: loss_step for loss_step in stage.loss_steps(batch, moment(progress=0.9))}
    critics = {"temporal", "static"} if method != "sparse_warping" else set()
    assert moves.keys() == {BASELINE_STAGE} | critics
    assert ("adversarial_temporal" in moves[BASELINE_STAGE].terms) == bool(critics)


def test_frames_that_are_given_are_not_chosen():
    stage, _ = make("recurrent", "autoencoder_losses.frames_per_step=2")
    chosen = {tuple(stage._chosen_frames(FRAMES, moment(seed=seed))) for seed in range(20)}
    assert chosen == {(1, 3), (2, 3)}
    stage, _ = make("recurrent", f"autoencoder_losses.frames_per_step={FRAMES}")
    assert stage._chosen_frames(FRAMES, moment()) == [1, 2, 3]


def test_motion_is_asked_of_the_last_given_frame():
    stage, batch = make("recurrent")
    still = batch._replace(tracks=0 * batch.tracks)
    chosen = [1, 2, FRAMES - 1]
    wanted = torch.stack([still.tracks[:, 1], still.tracks[:, 2], batch.optical_flow], 1)
    torch.testing.assert_close(stage._displacements(still, chosen), wanted)
    shift = torch.tensor([2.0, -1.0]).view(1, 1, 2, 1, 1)
    steps = torch.arange(1, FRAMES + 1).view(1, -1, 1, 1, 1)
    drifting = batch._replace(
        tracks=(steps * shift).expand_as(batch.tracks), optical_flow=(4 * shift[0]).expand(2, -1, 64, 64)
    )
    found = stage._displacements(drifting, chosen)
    torch.testing.assert_close(found, ((steps - 1)[:, 1:] * shift).expand_as(found))


def test_a_square_is_followed_from_the_given_frame_on():
    stage, _ = make("recurrent")
    squares = MovingSquares()
    tracks = torch.stack([squares_at(squares, step) for step in range(1, FRAMES + 1)], 1)
    batch = training_batch(
        TrainingClips(squares, tiny_recipe().pokes, None, seed=0, with_tracks=True), first=0, batch=1
    )
    found = stage._displacements(batch._replace(tracks=tracks, optical_flow=tracks[:, -1]), [FRAMES - 1])[0, 0]
    x, y = squares.corners[0]
    first, last = tracks[0, 0, :, y, x], tracks[0, -1, :, y, x]
    column, row = x + int(first[0]), y + int(first[1])
    inside = found[:, row + 1 : row + 15, column + 1 : column + 15]
    torch.testing.assert_close(inside, (last - first).view(2, 1, 1).expand_as(inside))
    assert found[:, :10].abs().max() == 0


def squares_at(squares, step):
    """Give the exact displacement of square 0 in a frame."""
    x, y = squares.corners[0]
    field = torch.zeros(1, 2, 64, 64)
    field[0, :, y : y + 16, x : x + 16] = torch.tensor(squares.displacements[0] * step / FRAMES).round().view(2, 1, 1)
    return field


def test_without_tracks_no_motion_can_be_asked_of_a_later_frame():
    stage, batch = make("recurrent")
    (loss_step,) = stage.loss_steps(batch._replace(tracks=batch.tracks[:, :0]), moment())
    assert "motion" not in loss_step.terms


def test_windows_of_the_discriminator_begin_with_what_was_given():
    stage, batch = make("recurrent", "discriminators.window=first")
    generated = torch.zeros(2, FRAMES - 1, 3, 64, 64)
    real, fake = stage._windows(batch.clip, generated, moment())
    assert real.shape == fake.shape == (2, FRAMES, 3, 64, 64)
    assert torch.equal(real, batch.clip[:, :FRAMES])
    assert torch.equal(fake[:, :2], batch.clip[:, :2])
    assert not fake[:, 2:].any()


def test_the_autoencoder_is_given_the_source_frame_alone():
    recipe = tiny_recipe("autoencoder_losses.frames_per_step=2")
    stage = AutoencoderStage(PokeModel(recipe).autoencoder, recipe, None, torch.device("cpu"))
    chosen = {tuple(stage._chosen_frames(FRAMES, moment(seed=seed))) for seed in range(20)}
    assert chosen == {(0, 3), (1, 3), (2, 3)}


def test_a_divergence_names_the_settings_that_a_baseline_goes_by(tmp_path, monkeypatch):
    monkeypatch.setattr("ipoke.training.baselines.recurrent.KL_WEIGHT", float("nan"))
    with pytest.raises(InputError, match=r"the loss term kl became nan.*--set train\.autoencoder\.learning_rate"):
        go_on(tmp_path, "recurrent")
