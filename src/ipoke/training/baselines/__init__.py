"""What the paper compares with, small, trained by the same command on the same budget as the autoencoder."""
