"""Frames to MP4 bytes and back, the same bytes for the same frames.

Clips are stored with the colours at full resolution (yuv444p) and full range, converted by the JPEG matrix (BT.601),
which keeps the mean of every channel; players get yuv420p in limited range, because few of them show anything else.
"""

import io
import itertools
from collections.abc import Iterable
from fractions import Fraction

import av
import av.error
import cv2
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from jaxtyping import UInt8

from ipoke.core.errors import InputError
from ipoke.core.files import reason
from ipoke.core.reading.streams import refuse_other, rgb_pixels

CRF = 12
"""Quality of stored clips (0 is lossless, 51 the worst): about 41 dB on busy frames of 64 px, more on calm ones."""
GOP = 8
"""Frames from one key frame to the next."""
LARGEST_CLIP_PIXELS = 1_000_000_000
"""Of all frames of a stored clip together, when it is read."""
_BT709, _BT601, _LIMITED, _FULL = 1, 6, 1, 2


def encode_mp4(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    fps: float | Fraction,
    *,
    crf: int = CRF,
    yuv444: bool = True,
    gop: int = GOP,
) -> bytes:
    """Encode frames as an H.264 MP4 file without time stamps or encoder names, on one thread.

    Args:
        frames: At least one frame; all of one size, whose sides are even without ``yuv444``.
        fps: Frames per second, kept exactly for every common rate, 30000/1001 among them.
        crf: Quality, lower is better.
        yuv444: Keep the colours at full resolution; without it the file plays everywhere.
        gop: Frames from one key frame to the next.

    Raises:
        ValueError: No frames, or frames of different sizes.
    """
    encoder: Mp4Encoder | None = None
    try:
        for index, pixels in enumerate(frames):
            encoder = encoder or Mp4Encoder(*pixels.shape[:2], fps, crf=crf, yuv444=yuv444, gop=gop)
            if pixels.shape != encoder.shape:
                raise ValueError(f"encode_mp4: frame {index} is {pixels.shape}, expected {encoder.shape}")
            encoder.add(pixels)
        if encoder is None:
            raise ValueError("encode_mp4: got no frames, expected at least one")
        return encoder.close()
    finally:
        if encoder is not None:
            encoder.drop()


class Mp4Encoder:
    """Encodes frames one by one, as `encode_mp4` encodes all of them."""

    def __init__(self, height: int, width: int, fps: float | Fraction, *, crf: int, yuv444: bool, gop: int) -> None:
        self.shape = (height, width, 3)
        self.buffer = io.BytesIO()
        """What is encoded so far."""
        self._container = av.open(self.buffer, "w", format="mp4", container_options={"fflags": "+bitexact"})
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(65535))
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv444p" if yuv444 else "yuv420p"
        # Without mbtree and weighted prediction: on small frames that fade, x264 let memory it had never written decide
        # about single levels, so that the bytes differed from call to call.
        self._stream.options = {
            **{"crf": str(crf), "g": str(gop), "preset": "medium"},
            **{"weightp": "0", "x264-params": "mbtree=0"},
        }
        context = self._stream.codec_context
        context.thread_count = 1
        context.colorspace, context.color_range = (_BT601, _FULL) if yuv444 else (_BT709, _LIMITED)
        context.color_primaries = context.color_trc = _BT709
        # Unit type 6 holds the encoder's version and settings: 700 bytes, which a short clip can do without.
        self._without_names = BitStreamFilterContext("filter_units=remove_types=6", self._stream)
        self._reformatter, self._count, self._yuv444 = VideoReformatter(), 0, yuv444

    def add(self, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
        """Encode a frame of the shape."""
        frame = _yuv444(pixels) if self._yuv444 else _yuv420(pixels, self._reformatter)
        frame.pts = self._count
        self._count += 1
        for packet in self._stream.encode(frame):
            self._container.mux(self._without_names.filter(packet))

    def close(self) -> bytes:
        """End the file and give it."""
        for packet in self._stream.encode():
            self._container.mux(self._without_names.filter(packet))
        self._container.mux(self._without_names.filter(None))
        self._container.close()
        return self.buffer.getvalue()

    def drop(self) -> None:
        """End the file wherever it is: PyAV 17 may free what an open one still needs."""
        self._container.close()


def decode_mp4(data: bytes, *, most: int | None = None, side: int | None = None) -> UInt8[np.ndarray, "t h w 3"]:
    """Decode the frames of the first video stream; `encode_mp4` backwards, up to the codec's loss.

    Args:
        data: An MP4 file.
        most: Stop after so many frames; all of them if None.
        side: Refuse frames that are not of this many px square, before they are decoded; any size if None.

    Raises:
        InputError: The bytes are not an MP4 file, or are broken, or frames are of another size.
    """
    reformatter = VideoReformatter()
    frames = []
    try:
        with av.open(io.BytesIO(data), "r", format="mp4", metadata_errors="replace", io_open=refuse_other) as container:
            stream = container.streams.video[0]
            if stream.codec_context is None or stream.codec_context.name != "h264":
                raise InputError("video bytes: got another codec than H.264, expected a clip as ipoke stores it")
            stream.codec_context.thread_count = 1
            _refuse_size(stream.width, stream.height, side)
            for frame in itertools.islice(container.decode(stream), most):
                _refuse_size(frame.width, frame.height, side)
                if frame.width * frame.height * (len(frames) + 1) > LARGEST_CLIP_PIXELS:
                    raise InputError("video bytes: got more pixels than a clip has, expected a clip as ipoke stores it")
                frames.append(_rgb(frame, reformatter))
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise InputError(f"video bytes: cannot be decoded ({reason(error)}), expected an MP4 file") from error
    if not frames:
        raise InputError("video bytes: got no frames, expected an MP4 file with at least one")
    return np.stack(frames)


def _refuse_size(width: int, height: int, side: int | None) -> None:
    if side is not None and (width, height) != (side, side):
        raise InputError(f"video bytes: got frames of {width} x {height} px, expected {side} x {side}")


def _rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> UInt8[np.ndarray, "h w 3"]:
    is_ours = frame.format.name in ("yuv444p", "yuvj444p") and (frame.colorspace, frame.color_range) == (_BT601, _FULL)
    if not is_ours:
        return rgb_pixels(frame, reformatter)
    luma, blue, red = frame.to_ndarray()
    return cv2.cvtColor(cv2.merge((luma, red, blue)), cv2.COLOR_YCrCb2RGB)


def _yuv444(pixels: UInt8[np.ndarray, "h w 3"]) -> av.VideoFrame:
    luma, red, blue = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb))
    planes = np.stack((luma, blue, red)).astype(np.uint8, copy=False)
    return av.VideoFrame.from_ndarray(planes, format="yuv444p")


def _yuv420(pixels: UInt8[np.ndarray, "h w 3"], reformatter: VideoReformatter) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return reformatter.reformat(
        frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
