"""The video autoencoder: clip to latent and, with the source frame, back."""
