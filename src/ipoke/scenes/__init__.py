"""Simulated plants and puppets: clips with exact optical flow, keypoints and true alternative futures."""
