"""Plain tar shards: segments to member files, member files to tar bytes, byte ranges back to arrays.

A segment with key K is up to four neighbours in a shard, as WebDataset readers expect them: ``K.mp4`` (all frames),
``K.json`` (where they come from), ``K.flow.npz`` (``optical_flow``: int16, one field per legal start, in 1/64 px) and
``K.extra.npz`` (arrays of the simulator).
"""

import io
import tarfile
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16, UInt8

from ipoke.data.clip_rows import ClipSetSettings, MemberRow, Segment, SegmentRow, SourceRow
from ipoke.data.codec import decode_mp4, encode_mp4
from ipoke.errors import InputError
from ipoke.files import reason
from ipoke.json_text import json_text

BLOCK = tarfile.BLOCKSIZE
END_OF_ARCHIVE = bytes(2 * BLOCK)
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


def arrays_to_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Compress named arrays, the same bytes for the same arrays; arrays of Python objects are refused."""
    buffer = io.BytesIO()
    # Level 1: half the time of the default for 2 % more bytes on optical flow.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.writestr(entry, content.getvalue(), compresslevel=1)
    return buffer.getvalue()


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


def read_member(folder: Path, segment: SegmentRow, ending: str) -> bytes:
    """Read one member file by its byte range.

    Raises:
        InputError: The shard is missing, cannot be read, or holds other bytes than the index says.
    """
    path, member = folder / segment.shard, segment.members[ending]
    try:
        with path.open("rb") as shard:
            shard.seek(member.offset)
            content = shard.read(member.length)
    except FileNotFoundError as error:
        raise InputError(f"{path}: this shard is missing; copy the whole folder again, or prepare it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check its permissions and the disk") from error
    if len(content) != member.length or zlib.crc32(content) != member.crc32:
        raise InputError(
            f"{path}: {segment.key}.{ending} at byte {member.offset} is not what the index says; the shard is cut off "
            "or damaged, copy the folder again or prepare it again"
        )
    return content


def read_frames_of(folder: Path, segment: SegmentRow) -> UInt8[np.ndarray, "t h w 3"]:
    """Decode all frames of a segment; raises as `read_member`."""
    frames = decode_mp4(read_member(folder, segment, "mp4"))
    if len(frames) != segment.frames:
        raise InputError(
            f"{folder / segment.shard}: {segment.key}.mp4 has {len(frames)} frames, expected the index's "
            f"{segment.frames}; prepare the set again"
        )
    return frames


def read_arrays_of(folder: Path, segment: SegmentRow, ending: str) -> dict[str, np.ndarray]:
    """Read the arrays of an ``npz`` member, or none where the segment has no such member; raises as `read_member`."""
    if ending not in segment.members:
        return {}
    with np.load(io.BytesIO(read_member(folder, segment, ending)), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
