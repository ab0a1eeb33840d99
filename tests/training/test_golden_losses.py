import json

import make_golden_losses
import pytest
from make_golden_losses import GOLDEN, STEPS, losses

EXACT_STEPS = 5
"""After these, other orders of sums have grown to a thousandth in a training that is half adversarial."""


def test_the_first_steps_lose_what_they_lost_before(tmp_path, monkeypatch):
    monkeypatch.setattr(make_golden_losses.loop, "LOG_EVERY_S", -1.0)
    golden, got = json.loads(GOLDEN.read_text(encoding="utf-8")), losses(tmp_path / "run")
    assert got.keys() == golden.keys() == {"autoencoder", "latent_flow"}
    for stage, rows in golden.items():
        assert len(rows) == len(got[stage]) == STEPS
        for step, (expected, row) in enumerate(zip(rows, got[stage], strict=True)):
            assert row == pytest.approx(expected, rel=1e-3 if step < EXACT_STEPS else 1e-2, abs=1e-5), (
                f"{stage}, step {step}"
            )
    assert "static_hinge" in golden["autoencoder"][-1]
