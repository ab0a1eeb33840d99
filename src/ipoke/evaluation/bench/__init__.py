"""What sampling and training cost, measured side by side: ours, and the paper's size in plain PyTorch."""
