import torch

from ipoke.data.batches import TrainingClips, training_batch
from ipoke.sampling.model import PokeModel
from ipoke.training.latent_flow_stage import LatentFlowStage
from ipoke.training.stage import StepContext
from tiny import MovingSquares, tiny_recipe


def test_the_likelihood_teaches_flow_and_conditions_and_nothing_else():
    recipe = tiny_recipe("latent_flow.train_condition_encoders=true")
    torch.manual_seed(0)
    model = PokeModel(recipe)
    stage = LatentFlowStage(model, torch.device("cpu"))
    batch = training_batch(
        TrainingClips(MovingSquares(), recipe.pokes, None, seed=0, with_tracks=True), first=0, batch=2
    )
    stage.begin(batch, StepContext(0, 0.0, torch.Generator().manual_seed(0)))
    with torch.no_grad():  # as it is made, what depends on the condition is multiplied by zero
        for parameter in model.latent_flow.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    (loss_step,) = stage.loss_steps(batch, StepContext(0, 0.0, torch.Generator().manual_seed(0)))
    assert loss_step.terms.keys() == {"nll_nats"}
    loss_step.terms["nll_nats"].backward()
    for part in (model.latent_flow, model.conditions):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())
    assert all(p.grad is None for p in model.autoencoder.parameters())
