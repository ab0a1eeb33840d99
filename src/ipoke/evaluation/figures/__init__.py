"""The paper's figures as pictures and numbers, drawn of any sampler on any prepared set."""
