"""What a model is worth: figures of merit, the paper's figures, and what sampling costs."""
