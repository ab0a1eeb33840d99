"""Simulated plants and puppets: clips with exact optical flow, keypoints and true alternative futures."""

from ipoke.scenes.contact_sheet import contact_sheet
from ipoke.scenes.scene import Scene, SceneClip, draw_scene
from ipoke.scenes.writing import write_scenes

__all__ = ["Scene", "SceneClip", "contact_sheet", "draw_scene", "write_scenes"]
