"""Plain tar shards: segments to member files, member files to tar bytes, byte ranges back to arrays.

A segment with key K is up to four neighbours in a shard, as WebDataset readers expect them: ``K.mp4`` (all frames),
``K.json`` (where they come from), ``K.flow.npz`` (``optical_flow``: int16, one field per legal start, in 1/64 px) and
``K.extra.npz`` (arrays of the simulator).
"""

import math
import os
import tarfile
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16, UInt8

from ipoke.core.errors import InputError
from ipoke.core.files import reason
from ipoke.core.json_text import json_text
from ipoke.core.reading.regular import regular_file
from ipoke.data.arrays import arrays_from_npz, arrays_to_npz
from ipoke.data.clip_rows import ClipSetSettings, Ending, MemberRow, Segment, SegmentRow, SourceRow
from ipoke.data.codec import decode_mp4, encode_mp4

BLOCK = tarfile.BLOCKSIZE
END_OF_ARCHIVE = bytes(2 * BLOCK)
LARGEST_EXTRAS = 2**28
"""Bytes of the further arrays of a segment, unpacked."""
UNITS_PER_PX = 64
"""Displacements are stored in steps of 1/64 px, from -512 to 512 px."""


def fixed_point(optical_flow: Float[np.ndarray, "*n 2 h w"]) -> Int16[np.ndarray, "*n 2 h w"]:
    """Round displacements to 1/64 px; those beyond 512 px are cut to it."""
    return np.clip(np.rint(optical_flow * UNITS_PER_PX), -32768, 32767).astype(np.int16)


def pixels_from_fixed(stored: Int16[np.ndarray, "*n 2 h w"]) -> Float[np.ndarray, "*n 2 h w"]:
    """Turn stored displacements into float32 px."""
    return stored.astype(np.float32) / UNITS_PER_PX


def segment_members(settings: ClipSetSettings, source: SourceRow, key: str, segment: Segment) -> dict[str, bytes]:
    """Encode a segment as member files, by file ending.

    Raises:
        ValueError: Frames or displacements do not have the shape that the settings ask for.
    """
    count, side = len(segment.frames), settings.size
    starts = count - settings.window
    if starts < 1 or segment.frames.shape != (count, side, side, 3):
        raise ValueError(
            f"segment {key}: frames are {segment.frames.shape}, expected at least {settings.window + 1} of {side} px"
        )
    if segment.optical_flow.shape != (starts, 2, side, side):
        raise ValueError(
            f"segment {key}: optical flow is {segment.optical_flow.shape}, expected {(starts, 2, side, side)}"
        )
    about = {
        "key": key,
        "source": source.id,
        "video": source.video,
        "split": source.split,
        "first": segment.first,
        "frames": count,
        "fps": source.fps,
        "clip_frames": settings.frames,
        "stride": settings.stride,
    }
    members = {
        "mp4": encode_mp4(segment.frames, Fraction(source.fps or 25).limit_denominator(65535)),
        "json": json_text(about, sort_keys=True).encode(),
        "flow.npz": arrays_to_npz({"optical_flow": fixed_point(segment.optical_flow)}),
    }
    if segment.arrays:
        members["extra.npz"] = arrays_to_npz(segment.arrays)
    return members


def tar_entry(name: str, content: bytes) -> bytes:
    """Give one tar member: its header (no owner, no time), its content, and the padding to whole blocks."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % BLOCK)


def layout(key: str, members: dict[str, bytes], offset: int) -> tuple[bytes, dict[str, MemberRow]]:
    """Join the members of a segment to tar bytes that will stand at ``offset``, and say where each will lie."""
    chunks, rows = [], {}
    for ending, content in members.items():
        entry = tar_entry(f"{key}.{ending}", content)
        rows[ending] = MemberRow(offset=offset + BLOCK, length=len(content), crc32=zlib.crc32(content))
        chunks.append(entry)
        offset += len(entry)
    return b"".join(chunks), rows


def end_of(segment: SegmentRow) -> int:
    """Byte of the shard at which the last member of a segment ends, padding included."""
    return max(-(-(member.offset + member.length) // BLOCK) * BLOCK for member in segment.members.values())


def read_member(folder: Path, segment: SegmentRow, ending: Ending) -> bytes:
    """Read one member file by its byte range.

    Raises:
        InputError: The shard is missing, cannot be read, or holds other bytes than the index says.
    """
    path, member = folder / segment.shard, segment.members.get(ending)
    if member is None:
        raise InputError(f"{path}: the index has no {segment.key}.{ending}; prepare the set again")
    if not os.path.lexists(path):
        raise InputError(f"{path}: this shard is missing; copy the whole folder again, or prepare it again")
    content = b""
    try:
        # A length that the index makes up must not be asked of memory.
        if member.offset + member.length <= regular_file(path, "shard").stat().st_size:
            with path.open("rb") as shard:
                shard.seek(member.offset)
                content = shard.read(member.length)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check its permissions and the disk") from error
    if len(content) != member.length or zlib.crc32(content) != member.crc32:
        raise InputError(
            f"{path}: {segment.key}.{ending} at byte {member.offset} is not what the index says; the shard is "
            "truncated or damaged, copy the folder again or prepare it again"
        )
    return content


def read_frames_of(folder: Path, segment: SegmentRow, side: int) -> UInt8[np.ndarray, "t h w 3"]:
    """Decode all frames of a segment, ``side`` px square; raises as `read_member`."""
    where = f"{folder / segment.shard}: {segment.key}.mp4"
    content = read_member(folder, segment, "mp4")
    try:
        frames = decode_mp4(content, most=segment.frames + 1, side=side)
    except InputError as error:
        raise InputError(f"{where}: {error}; prepare the set again") from error
    if len(frames) != segment.frames:
        more = "more" if len(frames) > segment.frames else str(len(frames))
        raise InputError(f"{where} has {more} frames, expected the index's {segment.frames}; prepare the set again")
    return frames


def read_optical_flow_of(folder: Path, segment: SegmentRow, side: int, window: int) -> Int16[np.ndarray, "n 2 h w"]:
    """Read the displacements of every clip of a segment, in 1/64 px; raises as `read_member`."""
    wanted = (segment.frames - window, 2, side, side)
    stored = read_arrays_of(folder, segment, "flow.npz", 2 * math.prod(wanted) + 4096).get("optical_flow")
    if stored is None or stored.dtype != np.int16 or stored.shape != wanted:
        got = "none" if stored is None else f"{stored.dtype} of shape {stored.shape}"
        raise InputError(
            f"{folder / segment.shard}: {segment.key}.flow.npz has optical flow {got}, expected int16 of shape "
            f"{wanted}; prepare the set again"
        )
    return stored


def read_arrays_of(
    folder: Path, segment: SegmentRow, ending: Ending, most: int = LARGEST_EXTRAS
) -> dict[str, np.ndarray]:
    """Read the arrays of an ``npz`` member, at most ``most`` bytes; none where the segment has no such member.

    Raises:
        InputError: As `read_member`, or the member holds no arrays, or larger ones.
    """
    if ending not in segment.members:
        return {}
    content = read_member(folder, segment, ending)
    try:
        return arrays_from_npz(content, most)
    except ValueError as error:
        raise InputError(
            f"{folder / segment.shard}: {segment.key}.{ending} holds no arrays ({error}); prepare the set again"
        ) from error
