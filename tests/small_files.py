"""Small files of every kind that is read, and of kinds that must not be."""

import contextlib
import io

import av
import numpy as np
from PIL import Image

from ipoke.core.errors import InputError


def picture(height=24, width=32):
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 7, y * 9, x + y), axis=-1).astype(np.uint8)


def still(kind, **more):
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, kind, **more)
    return buffer.getvalue()


def animation(kind, count=4):
    images = [Image.fromarray(np.roll(picture(), 3 * shift, 1)) for shift in range(count)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=40, loop=0)
    return buffer.getvalue()


def video(container, codec, pixel_format="yuv420p", count=6, side=32):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = pixel_format
        for shift in range(count):
            frame = np.roll(np.resize(picture(side, side), (side, side, 3)), shift, 1)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        output.mux(stream.encode())
    return buffer.getvalue()


STILLS = {
    "a.png": lambda: still("PNG"),
    "a.jpg": lambda: still("JPEG"),
    "a.webp": lambda: still("WEBP", lossless=True),
    "a.bmp": lambda: still("BMP"),
    "a.tiff": lambda: still("TIFF"),
    "a.ppm": lambda: still("PPM"),
    "a.gif": lambda: still("GIF"),
}
VIDEOS = {
    "a.mp4": lambda: video("mp4", "libx264"),
    "a.mov": lambda: video("mov", "mpeg4"),
    "a.mkv": lambda: video("matroska", "ffv1"),
    "a.webm": lambda: video("webm", "libvpx-vp9"),
    "a.avi": lambda: video("avi", "mjpeg", "yuvj420p"),
    "a.mpg": lambda: video("mpeg", "mpeg2video"),
    "a.ts": lambda: video("mpegts", "libx264"),
    "a.wmv": lambda: video("asf", "wmv2"),
    "a.flv": lambda: video("flv", "flv"),
    "a.3gp": lambda: video("3gp", "mpeg4"),
    "anim.gif": lambda: animation("GIF"),
    "anim.webp": lambda: animation("WEBP"),
    "anim.png": lambda: animation("PNG"),
}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n{} loop\n%%EOF\n"
NAMING_OTHERS = {
    "concat.txt": b"ffconcat version 1.0\nfile private.mp4\n",
    "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nprivate.mp4\n#EXT-X-ENDLIST\n",
    "address.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "ports.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 19200 RTP/AVP 96\n"
    b"a=rtpmap:96 H264/90000\n",
    "dash.mpd": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    b'<Representation id="1"><BaseURL>private.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "images.txt": b"private%03d.png",
    "redirect.mov": b"RTSPtext\r\nrtsp://127.0.0.1:9/x\r\n",
    "reference.asx": b'<asx version="3.0"><entry><ref href="private.mp4"/></entry></asx>',
    "sub.idx": b"# VobSub index file, v7\nsize: 32x32\nid: en, index: 0\ntimestamp: 00:00:00:000, filepos: 0\n",
    "eps.jpg": EPS,
    "eps.png": EPS,
    "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="private.png" width="9" height="9"/></svg>',
    "script.avs": b"DirectShowSource(private.mp4)\n",
    "lavfi.txt": b"lavfi:testsrc",
    "wave.wav": b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0D\xac\0\0\x88X\x01\0\x02\0\x10\0data\0\0\0\0",
}


@contextlib.contextmanager
def refused_in_one_line():
    """Take a refusal for an answer, if it is one line."""
    try:
        yield
    except InputError as error:
        words = str(error)
    else:
        return
    assert "\n" not in words
    assert len(words) < 300
