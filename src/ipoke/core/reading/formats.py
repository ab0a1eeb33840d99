"""Allowed formats: all others are refused before decoding.

No format here refers to another file or an address, asks for a device, or starts another program.
"""

from collections.abc import Sequence

VISITORS_PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Picture formats of visitors, by Pillow's names: those that browsers show."""
PICTURES = (*VISITORS_PICTURES, "TIFF", "PPM")
"""Picture formats of a user's own files."""
CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpeg", "mpegts", "mpegvideo", "asf", "flv", "ogg")
"""Video containers, by FFmpeg's names of its demuxers."""
CONTAINER_WORDS = "MP4, MOV, MKV, WebM, AVI, MPEG, WMV, FLV, 3GP or Ogg"
CODECS = (
    *("h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "libvpx", "libvpx-vp9", "theora", "vp6", "vp6a", "vp6f"),
    *("mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "h263", "h263p", "flv"),
    *("wmv1", "wmv2", "wmv3", "vc1", "mjpeg", "mjpegb", "dvvideo", "msvideo1", "cinepak"),
    *("prores", "dnxhd", "cfhd", "qtrle", "png", "ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv"),
    *("rawvideo", "v210", "v410", "v308", "v408", "r210"),
)
"""Video codecs, by FFmpeg's names of its decoders."""
_PICTURE_STARTS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM"),
    *(b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
)
HEAD_BYTES = 16
"""Bytes of a file that `is_picture` needs."""


def listed(names: Sequence[str]) -> str:
    """Join names to a list in words.

    >>> listed(("PNG", "JPEG", "GIF"))
    'PNG, JPEG or GIF'
    """
    return f"{', '.join(names[:-1])} or {names[-1]}"


def is_picture(head: bytes) -> bool:
    """Tell from the first bytes of a file whether it is a picture or an animation.

    >>> is_picture(b"GIF89a"), is_picture(b"RIFF....WEBP"), is_picture(b"RIFF....AVI ")
    (True, True, False)
    """
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    is_netpbm = head[:1] == b"P" and head[1:2] in b"123456fFy" and head[2:3].isspace()
    return head.startswith(_PICTURE_STARTS) or (len(head) > 2 and is_netpbm)
