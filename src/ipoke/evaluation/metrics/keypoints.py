"""Keypoints of people, estimated in single frames, and the error of the poked keypoint."""

import hashlib
import importlib
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from ipoke.core.errors import InputError
from ipoke.core.files import reason
from ipoke.data.poke import Poke

MOVENET_FILE = "movenet_single_pose_lightning_ptq.tflite"
MOVENET_SHA256 = "cd7cc22fa946e5d146a7b98d496853e1923e22828d3972d579973f27f91bb105"
MOVENET_SIDE = 192
COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
"""Left and right are the person's own."""
CONFIDENT = 0.3
"""Least confidence of a visible keypoint."""
NEAR = 1 / 8
"""Largest distance of a poke from its keypoint, as a share of the picture's side."""


class Keypoints(NamedTuple):
    """Keypoints of frames, one person in each."""

    points: Float32[np.ndarray, "n k 2"]
    """(x, y), px of the frames given."""
    confidence: Float32[np.ndarray, "n k"]
    """From 0 to 1; a score, not a probability."""


class KeypointEstimator(Protocol):
    """Estimates the same named keypoints in every frame, each frame by itself."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the k keypoints."""
        ...

    def __call__(self, frames: UInt8[np.ndarray, "n h w 3"]) -> Keypoints:
        """Estimate the keypoints of frames."""
        ...


class MoveNet:
    """MoveNet Lightning, 17 keypoints of one person; frames are enlarged to 192 px with cubic interpolation.

    Threads may share it; they take turns.
    """

    names = COCO_NAMES

    def __init__(self, interpreter: Any) -> None:
        """Wrap a LiteRT interpreter that holds the network; `load_movenet` makes one."""
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        self._mutex = threading.Lock()

    def __call__(self, frames: UInt8[np.ndarray, "n h w 3"]) -> Keypoints:
        """Estimate the keypoints of frames.

        Raises:
            ValueError: The frames are not square, so that enlarging them would distort people.
        """
        size = frames.shape[1]
        if frames.shape[1:] != (size, size, 3):
            raise ValueError(f"keypoints: got frames {frames.shape}, expected square ones (n, s, s, 3)")
        found = np.stack([self._run(frame) for frame in frames]) if len(frames) else np.zeros((0, 17, 3), np.float32)
        # The network counts from the outer edge of the picture, half a pixel outside the first pixel's centre.
        return Keypoints(points=found[..., 1::-1] * np.float32(size) - np.float32(0.5), confidence=found[..., 2])

    def _run(self, frame: UInt8[np.ndarray, "s s 3"]) -> Float32[np.ndarray, "17 3"]:
        """Return y and x as shares of the side, and the confidence."""
        enlarged = cv2.resize(frame, (MOVENET_SIDE, MOVENET_SIDE), interpolation=cv2.INTER_CUBIC)
        with self._mutex:
            self._interpreter.set_tensor(self._input, enlarged[None])
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output)[0, 0]


def load_movenet(weights: Path, *, threads: int = 1) -> MoveNet:
    """Load the published file into LiteRT, which the extra ``pose`` installs.

    Raises:
        InputError: The package or the file is missing, or the file is not the published one.
    """
    try:
        litert = importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise InputError("keypoints: ai_edge_litert is not installed; pip install 'ipoke[pose]'") from error
    try:
        network = weights.read_bytes()
    except OSError as error:
        raise InputError(f"{weights}: cannot be read ({reason(error)}); expected {MOVENET_FILE}") from error
    found = hashlib.sha256(network).hexdigest()
    if found != MOVENET_SHA256:
        raise InputError(f"{weights}: got sha256 {found[:12]}, expected {MOVENET_SHA256[:12]}; fetch {MOVENET_FILE}")
    return MoveNet(litert.Interpreter(model_content=network, num_threads=threads))


def find_movenet() -> Path:
    """Find MoveNet's file in ``$IPOKE_WEIGHTS``, or in its folder ``movenet``.

    Raises:
        InputError: It is in neither.
    """
    given = os.environ.get("IPOKE_WEIGHTS")
    folders = [Path(given), Path(given) / "movenet"] if given else []
    for folder in folders:
        if (folder / MOVENET_FILE).is_file():
            return folder / MOVENET_FILE
    where = " or ".join(map(str, folders)) or "no folder, as IPOKE_WEIGHTS is not set"
    raise InputError(f"keypoints: {MOVENET_FILE}: looked in {where}; set IPOKE_WEIGHTS to the folder that holds it")


def poked_keypoint(
    points: Float[np.ndarray, "k 2"], confidence: Float[np.ndarray, " k"], poke: Poke, *, size: int
) -> int | None:
    """Return the index of the keypoint that a poke drags, or None.

    It is the nearest keypoint among those with a confidence of at least 0.3, at most an eighth of the side ``size``
    away.
    """
    distances = np.hypot(points[:, 0] - poke.x, points[:, 1] - poke.y)
    distances = np.where(confidence >= CONFIDENT, distances, np.inf)
    nearest = int(distances.argmin())
    return nearest if distances[nearest] <= NEAR * size else None


def keypoint_error_px(estimated: Float[np.ndarray, "n 2"], truth: Float[np.ndarray, "2"]) -> Float64[np.ndarray, " n"]:
    """Return the distance of a keypoint from the true one, at least 0, px, for the last frame of each of n samples."""
    difference = np.asarray(estimated, np.float64) - np.asarray(truth, np.float64)
    return np.hypot(difference[:, 0], difference[:, 1])
