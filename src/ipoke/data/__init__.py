"""From videos to training batches: clips, optical flow, pokes, augmentation."""
