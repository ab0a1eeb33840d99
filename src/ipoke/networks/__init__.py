"""The networks of the paper, plain PyTorch: bijections, autoencoder, condition encoders, latent flow."""
