import json

import pytest
import torch

from ipoke.core.recipe import STAGES
from ipoke.core.settings import load_recipe
from ipoke.evaluation.bench import kept, sampling, training, ways
from ipoke.evaluation.bench.kept import Kept
from ipoke.evaluation.bench.machine import Ceiling
from ipoke.evaluation.bench.models import random_model
from ipoke.evaluation.bench.operations import counted_per_sample, gflop
from ipoke.evaluation.bench.peak import Sampling, peak_mib
from ipoke.evaluation.bench.results import lines, row, save
from ipoke.evaluation.bench.ways import as_we_do
from ipoke.sampling import sampler
from tiny import tiny_recipe

pytestmark = pytest.mark.slow

PAPERS = tiny_recipe(
    "clip_decoder.kind=spade", "clip_decoder.spectral_norm=true", "latent_channels=8", "name='like-the-papers'"
)
PAPERS = PAPERS.model_copy(
    update={
        "latent_flow": PAPERS.latent_flow.model_copy(
            update={
                "conditional_couplings": False,
                "steps": (2, 1),
                "factor": 4,
                "logit_bound": None,
                "seen_bound": None,
            }
        )
    }
)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Leave out what takes long and depends on nothing here."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(sampling, "ceilings", lambda: {p: Ceiling(100.0, 200.0) for p in ("float32", "bfloat16")})
    monkeypatch.setattr(ways, "has_onnx", lambda: False)
    monkeypatch.setattr(sampling, "peak_mib", lambda one: 1000.0 if one.plain else 250.0)
    monkeypatch.setattr(training, "CLIPS", 8)
    yield
    monkeypatch.undo()


@pytest.fixture(scope="module")
def result(quick):
    seen = []
    found = sampling.measure(
        PAPERS, tiny_recipe(), batches=(1, 3), rounds=2, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(done, 17) for done in range(18)]
    return found


def test_every_part_of_every_way_has_a_row_per_batch_and_precision(result):
    rows = {(one["model"], one["part"], one["dtype"], one["batch"]) for one in result["rows"]}
    inside = ("clip", "condition_encoders", "latent_flow_inverse", "rollout", "decoder")
    expected = {("reference, plain engine", part, "float32", batch) for part in inside for batch in (1, 3)}
    for model in ("reference", "tiny-64"):
        parts = (*inside, "encoder") if model == "reference" else (*inside, "encoder", "next_clip", "next_preview")
        expected |= {(model, p, dtype, b) for p in parts for dtype in ("float32", "bfloat16") for b in (1, 3)}
    assert rows == expected
    assert all(one["size"] == 64 and 0 < one["min_ms"] <= one["median_ms"] for one in result["rows"])


def test_the_ways_agree_and_the_parts_add_up(result):
    agreement = result["agreement"]
    assert agreement["clip_largest_difference_float32"] < 1e-4 < agreement["clip_largest_difference_bfloat16"]
    assert agreement["round_trip_relative"] < 1e-4
    for model in ("reference", "tiny-64"):
        own = {
            one["part"]: one
            for one in result["rows"]
            if (one["model"], one["batch"], one["dtype"]) == (model, 3, "float32")
        }
        parts = [own[part] for part in ("condition_encoders", "latent_flow_inverse", "rollout", "decoder")]
        assert sum(part["gflop"] for part in parts) == pytest.approx(own["clip"]["gflop"], abs=0.003)
        assert own["clip"]["floor_ms"] == pytest.approx(1000 * own["clip"]["gflop"] / 200, abs=0.02)


def test_ratios_are_of_the_medians_of_the_rows(result):
    def of(model, part, batch, figure="median_ms"):
        (one,) = (
            r[figure]
            for r in result["rows"]
            if (r["model"], r["part"], r["batch"], r["dtype"]) == (model, part, batch, "float32")
        )
        return one

    plain = "reference, plain engine"
    assert result["ratios"] == {
        "one_clip": pytest.approx(of(plain, "clip", 1) / of("tiny-64", "clip", 1), abs=0.006),
        "3_samples": pytest.approx(of(plain, "clip", 3) / of("tiny-64", "clip", 3), abs=0.006),
        "flow_inverse": pytest.approx(
            of(plain, "latent_flow_inverse", 1) / of("tiny-64", "latent_flow_inverse", 1), abs=0.006
        ),
        "peak_memory": 4.0,
    }
    assert result["ratios_reason"] is None


def test_without_the_memory_there_are_no_ratios_but_a_reason(quick, monkeypatch, tmp_path):
    monkeypatch.setattr(sampling, "available_gib", lambda: 0.0)
    result = sampling.measure(PAPERS, tiny_recipe(), batches=(1,), rounds=1, progress=lambda *_: None)
    assert set(result["ratios"].values()) == {None}
    assert "0 are free" in result["ratios_reason"]
    assert {one["model"] for one in result["rows"]} == {"tiny-64"}
    assert any("unavailable: " in line for line in lines(result))
    save(tmp_path / "bench.json", result, "ipoke bench")
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert (kept["command"], kept["ratios"]["one_clip"]) == ("ipoke bench", None)


class Stopwatch:
    """A clock that is over after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @property
    def is_over(self) -> bool:
        self.left -= 1
        return self.left < 0


def stopped_after(monkeypatch, steps: int) -> None:
    for module in (sampling, training):
        monkeypatch.setattr(module, "Clock", lambda _: Stopwatch(steps))


def measured(file, rounds=2):
    return sampling.measure(
        PAPERS, tiny_recipe(), batches=(1, 3), rounds=rounds, progress=lambda *_: None, kept=Kept(file, "ipoke bench")
    )


def test_a_bench_that_was_stopped_goes_on(quick, monkeypatch, tmp_path):
    file = tmp_path / "bench.json"
    for steps in (0, 1, 7):
        stopped_after(monkeypatch, steps)
        assert not measured(file)["complete"]
    partial = json.loads(file.read_text())
    assert partial["complete"] is False
    assert partial["rows"]
    assert partial["ratios_reason"] == "not measured yet"
    assert partial["measured"]["rounds"] == {"tiny-64 / float32": 1, "tiny-64 / bfloat16": 1}
    assert len(partial["measured"]["peaks"]) == 5
    stopped_after(monkeypatch, 100)
    counted: list[tuple[str, int]] = []
    run = ways.Way.run
    monkeypatch.setattr(ways.Way, "run", lambda way, n: counted.append((way.name, n)) or run(way, n))
    result = measured(file)
    assert result["complete"]
    assert result["rounds"] == 2
    assert counted.count(("tiny-64", 3)) == 2  # the second round alone, in both precisions
    kept_rows = json.loads(file.read_text())
    assert kept_rows["complete"] is True
    assert "measured" not in kept_rows
    assert None not in kept_rows["ratios"].values()


def test_rounds_shrink_to_the_time_there_is(quick, monkeypatch, tmp_path):
    stopped_after(monkeypatch, 13)
    result = measured(tmp_path / "bench.json", rounds=7)
    assert result["complete"]
    assert result["rounds"] == 1
    assert None not in result["ratios"].values()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"ipoke bench"', '"ipoke bench --size 128"'),
        lambda text: text.replace('"complete": false', '"complete": true'),
        lambda text: text.replace('"threads": ', '"threads": 9'),
        lambda text: text[:-40],
        lambda text: "[]",
    ],
    ids=["of another command", "complete", "of another machine", "cut off", "something else"],
)
def test_another_file_is_replaced(quick, monkeypatch, tmp_path, change):
    file = tmp_path / "bench.json"
    kept.Kept(file, "ipoke bench").write({"complete": False, "machine": kept.describe(), "rows": []})
    assert Kept(file, "ipoke bench").measured == {}
    begun = Kept(file, "ipoke bench")
    begun.measured["peaks"] = {"a": 1.0}
    begun.write({"complete": False, "machine": kept.describe(), "rows": []})
    assert Kept(file, "ipoke bench").measured == {"peaks": {"a": 1.0}}
    file.write_text(change(file.read_text()))
    assert Kept(file, "ipoke bench").measured == {}


def test_training_that_was_stopped_goes_on(quick, monkeypatch, tmp_path):
    lean = tiny_recipe("clip.frames=10")
    papers = PAPERS.model_copy(update={"clip": lean.clip, "name": "like-the-papers"})
    monkeypatch.setattr(training, "STAGES", ("image_encoder",))
    file = tmp_path / "bench.json"

    def trained(steps):
        stopped_after(monkeypatch, steps)
        return training.measure(papers, lean, progress=lambda *_: None, seconds=0.1, kept=Kept(file, "ipoke bench"))

    first = trained(1)
    assert not first["complete"]
    assert [one["recipe"] for one in json.loads(file.read_text())["stages"]] == ["tiny-64"]
    monkeypatch.setattr(training, "_lean", lambda *_: pytest.fail("measured again"))
    second = trained(1)
    assert second["complete"]
    assert second["stages"][0] == first["stages"][0]
    assert list(second["ratios"]) == ["image_encoder"]
    assert len(list(training.lines(second))) == 1 + 2 + 1


def test_a_row_in_closed_form():
    one = row("decoder", "m", 64, 5, "float32", [0.3, 0.1, 0.2], gflop=4.0, gflops=80.0)
    assert (one.median_ms, one.min_ms, one.gflop, one.floor_ms, one.peak_mib) == (200.0, 100.0, 4.0, 50.0, None)
    text = list(
        lines(
            {
                "machine": {"processor": "p", "threads": 2, "torch": "t"},
                "ceilings_gflops": {},
                "rows": [one._asdict()],
                "ratios": {"one_clip": 3.0},
                "ratios_of": ["slow", "fast"],
                "rounds": 7,
            }
        )
    )
    assert "4.0x" in text[2]
    assert text[3].split() == ["one_clip", "3.0x"]
    assert text[4] == "rounds: 7; ratios: median of slow / median of fast"


def test_operations_of_the_papers_size_are_those_of_the_facts():
    """The released networks at 64 px: latent flow 135 GFLOP, decoder of ten frames 39 (SPADE 22), encoder 17."""
    ours = gflop(load_recipe("plants-64", []))
    plain = counted_per_sample(ours, times=10)
    assert plain["latent_flow_inverse"] == ours["latent_flow_inverse"]
    assert sum(ours["latent_flow_inverse"]) == pytest.approx(135, rel=0.02)
    assert sum(plain["decoder"]) == pytest.approx(39, rel=0.03)
    assert 10 * ours["decoder"][0] == pytest.approx(22, rel=0.05)
    assert sum(ours["encoder"]) == pytest.approx(17, rel=0.05)


def test_a_process_of_its_own_tells_its_peak():
    small, large = (
        peak_mib(Sampling(recipe)) for recipe in (tiny_recipe(), tiny_recipe("latent_flow.coupling_width=2048"))
    )
    assert 100 < small < large - 50


@torch.no_grad()
def test_a_preview_is_not_taken_from_the_clip_before(monkeypatch):
    seeds = []
    way = as_we_do("tiny-64", random_model(tiny_recipe()), "float32")
    draw = sampler.draw_residuals
    monkeypatch.setattr(sampler, "draw_residuals", lambda of, named, std: seeds.append(named) or draw(of, named, std))
    sampling._open_picture(way, (1, 2), lambda *_: None)
    assert [len(one) for one in seeds] == [1, 1, 1, 2, 2]
    assert len({one[0] for one in seeds}) == 3


def test_every_stage_is_trained_by_both_recipes():
    lean = tiny_recipe("clip.frames=10")
    papers = PAPERS.model_copy(update={"clip": lean.clip, "name": "like-the-papers"})
    result = training.measure(papers, lean, progress=lambda *_: None, seconds=0.2)
    found = [(one["stage"], one["recipe"]) for one in result["stages"]]
    assert found == [(stage, name) for stage in STAGES for name in ("tiny-64", "like-the-papers")]
    for ours, theirs in zip(result["stages"][::2], result["stages"][1::2], strict=True):
        assert ours["data_clips_per_s"] > 0
        assert 0 <= ours["waiting"] < 1
        assert result["ratios"][ours["stage"]] == pytest.approx(ours["clips_per_s"] / theirs["clips_per_s"], rel=0.1)
    text = list(training.lines(result))
    assert len(text) == 1 + 8 + 4
    assert "gradient alone" in text[8]


def test_where_memory_is_short_the_papers_latent_flow_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "available_gib", lambda: 0.0)
    monkeypatch.setattr(training, "STAGES", ("latent_flow",))
    lean = tiny_recipe("clip.frames=10")
    result = training.measure(
        PAPERS.model_copy(update={"clip": lean.clip}), lean, progress=lambda *_: None, seconds=0.1
    )
    assert result["stages"][-1]["clips_per_s"] is None
    assert "0 are free" in result["stages"][-1]["note"]
    assert result["ratios"]["latent_flow"] is None
    assert list(training.lines(result))[-1].split() == ["latent_flow", "unavailable"]
    save(tmp_path / "training.json", result, "ipoke bench --training")
    assert "NaN" not in (tmp_path / "training.json").read_text()
