"""Visitors who mean harm, beside one who does not: what the honest one waits, and what memory the server takes.

All of it is bounded: so many seconds, so many connections, this machine's own addresses only. Each kind of attack comes
from an address of its own, as from another machine, but for the many names, which come from the honest visitor's own.
"""

import contextlib
import http.client
import io
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image

TOKEN = "a-token-of-this-benchmark"
ALONE_S, ATTACK_S, WAVES, AFTER_S = 20.0, 45.0, 2, 15.0
SETTLE_S = 5.0
"""From the begin of a wave to the first honest visit in it."""
PATIENCE_S = 30.0
MOST_REQUESTS = 400
"""Of one attack, in one wave."""
HONEST = "127.0.0.1"
Address = tuple[str, int]


class Wave:
    """The attacks of one wave: when they end, and what they were answered."""

    def __init__(self, server: Address, seconds: float) -> None:
        self.server, self.end = server, time.monotonic() + seconds
        self.answers: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()

    def goes_on(self, name: str, pause: float) -> bool:
        """Tell whether an attack may send once more, after a pause."""
        self._requests[name] += 1
        time.sleep(max(0.0, min(pause, self.end - time.monotonic())))
        return time.monotonic() < self.end and self._requests[name] <= MOST_REQUESTS

    def connect(self, source: str) -> socket.socket:
        """Open a connection from one of this machine's addresses."""
        return socket.create_connection(self.server, timeout=5, source_address=(source, 0))

    def note(self, name: str, answer: bytes) -> None:
        """Count an answer by its status."""
        status = answer[9:12].decode(errors="replace") if answer.startswith(b"HTTP/1.1 ") else "closed"
        self.answers[f"{name} {status}"] += 1


def request(path: str, body: bytes, *, length: int | None = None, token: str = TOKEN, visitor: str = "") -> bytes:
    """Write a request down."""
    lines = [
        f"POST /api/{path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        f"X-Visitor: {visitor}",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def ask(wave: Wave, name: str, source: str, sent: bytes, patience: float = 10.0) -> bytes:
    """Send a request, read the beginning of its answer, and leave."""
    try:
        with wave.connect(source) as one:
            one.settimeout(patience)
            one.sendall(sent)
            answer = one.recv(4096)
    except OSError:
        answer = b""
    wave.note(name, answer)
    return answer


def keep_open(wave: Wave, name: str, source: str, count: int, begin: bytes, drip: bytes) -> None:
    """Hold connections open that never get anywhere; those that the server closes are opened again."""
    held: list[socket.socket] = []
    while wave.goes_on(name, 0.5):
        for one in list(held):
            try:
                one.sendall(drip)
            except OSError:
                one.close()
                held.remove(one)
                wave.answers[f"{name} closed"] += 1
        while len(held) < count:
            try:
                held.append(wave.connect(source))
                held[-1].sendall(begin)
            except OSError:
                break
    for one in held:
        one.close()


def stalled_uploads(wave: Wave) -> None:
    """Announce ten megabytes and send a byte now and then."""
    keep_open(wave, "stalled uploads", "127.0.0.2", 16, request("pictures", b"x" * 1000, length=10_000_000), b"x")


def half_headers(wave: Wave) -> None:
    """Never end a header."""
    keep_open(wave, "half headers", "127.0.0.3", 120, b"POST /api/clips HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X: x\r\n")


def unread_clips(wave: Wave) -> None:
    """Ask for as many frames as there may be, and never read them."""
    large = picture_of(wave, "127.0.0.4", noise_png(1024))
    asked = json.dumps({"picture": large, "residuals": nine(4), "frames": 40}).encode()
    keep_open(wave, "unread clips", "127.0.0.4", 12, request("clips", asked), b"")


def large_exports(wave: Wave) -> None:
    """Ask for the largest file, and leave."""
    large = picture_of(wave, "127.0.0.5", noise_png(1024))
    while wave.goes_on("large exports", 0.5):
        asked = json.dumps({"picture": large, "residuals": nine(5), "frames": 40}).encode()
        ask(wave, "large exports", "127.0.0.5", request("export?format=gif", asked), 2.0)


def many_names(wave: Wave) -> None:
    """Send pictures and ask for clips under one name after another, from the honest visitor's address."""
    small = noise_png(256)
    number = 0
    while wave.goes_on("many names", 0.1):
        number += 1
        visitor = f"name-{number % 32}"
        ask(wave, "many names: pictures", HONEST, request("pictures", small, visitor=visitor), 5.0)
        asked = json.dumps({"picture": "still", "residuals": nine(number), "frames": 40}).encode()
        ask(wave, "many names: clips", HONEST, request("clips", asked, visitor=visitor), 1.0)


def token_guesses(wave: Wave) -> None:
    """Guess tokens."""
    number = 0
    while wave.goes_on("token guesses", 0.01):
        number += 1
        ask(wave, "token guesses", "127.0.0.6", request("command", b"{}", token=f"guess-{number}"), 1.0)


def bombs(wave: Wave) -> None:
    """Send files that are larger inside, or deeper, than they look."""
    files, number = bomb_files(), 0
    while wave.goes_on("bombs", 0.5):
        number += 1
        ask(wave, "bombs", "127.0.0.7", request("reopen", files[number % len(files)]), 10.0)


def slow_decodes(wave: Wave) -> None:
    """Send pictures that take long to decode."""
    large = flat_png(7000)
    while wave.goes_on("slow decodes", 0.2):
        ask(wave, "slow decodes", "127.0.0.8", request("pictures", large), 10.0)


ATTACKS: tuple[Callable[[Wave], None], ...] = (
    *(stalled_uploads, half_headers, unread_clips, large_exports),
    *(many_names, token_guesses, bombs, slow_decodes),
)


def nine(seed: int) -> list:
    """Name as many residuals as one question may have."""
    return [[[seed, number, 1]] for number in range(9)]


@cache
def noise_png(side: int) -> bytes:
    """Draw a picture that compresses badly."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(side).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def flat_png(side: int) -> bytes:
    """Draw a picture that compresses very well."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def bomb_files() -> list[bytes]:
    """Make files that are larger inside, or deeper, than they look."""
    return [lying_zip(), b"[" * 4_000_000, b"[" + b"[]," * 7_000_000 + b"[]]", boxes(20_000_000), flat_png(8000)]


def lying_zip() -> bytes:
    """Pack 800 megabytes of zeros as a session of a hundred bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("session.json", b"{}")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(800)) + packer.flush()
    plain = bytearray(buffer.getvalue())
    start = 30 + len("session.json")
    directory = plain.index(b"PK\x01\x02")
    head, tail = plain[:start], plain[directory:]
    for part, at in ((head, 18), (tail, 20)):
        part[at : at + 4] = len(packed).to_bytes(4, "little")
    end = tail.index(b"PK\x05\x06")
    tail[end + 16 : end + 20] = (start + len(packed)).to_bytes(4, "little")
    return bytes(head) + packed + bytes(tail)


def boxes(size: int) -> bytes:
    """Write a video of nothing but empty boxes."""
    return b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + b"\x00\x00\x00\x08free" * (size // 8)


def picture_of(wave: Wave, source: str, file: bytes) -> str:
    """Send a picture; a bundled one where it is refused."""
    connection = http.client.HTTPConnection(*wave.server, timeout=PATIENCE_S, source_address=(source, 0))
    try:
        connection.request("POST", "/api/pictures", file, {"Authorization": f"Bearer {TOKEN}"})
        return json.loads(connection.getresponse().read()).get("picture", "still")
    except (OSError, ValueError, http.client.HTTPException):
        return "still"
    finally:
        connection.close()


def honest_visit(server: Address, number: int) -> float | None:
    """Drag and let go; give the seconds to the first frame, None if there was none."""
    headers = {"X-Visitor": "honest", "Authorization": f"Bearer {TOKEN}"}
    poke = {"x": 38, "y": 137, "dx": 0, "dy": 20 + number % 16}
    asked = {"picture": "still", "pokes": [poke], "residuals": [[[number, 0, 1]]]}
    connection = http.client.HTTPConnection(*server, timeout=PATIENCE_S, source_address=(HONEST, 0))
    began = time.perf_counter()
    try:
        connection.request("POST", "/api/clips", json.dumps(asked), headers)
        answer = connection.getresponse()
        while answer.status == 200 and (line := answer.readline()):
            if json.loads(line)["kind"] == "frame":
                seconds = time.perf_counter() - began
                answer.read()
                return seconds
    except (OSError, ValueError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    return None


def honest_visits(server: Address, seconds: float, first: int) -> list[float | None]:
    """Visit again and again."""
    end, times = time.monotonic() + seconds, []
    while time.monotonic() < end:
        times.append(honest_visit(server, first + len(times)))
        time.sleep(0.5)
    return times


class Memory:
    """Looks at the memory of a process and of those that it began, MB."""

    def __init__(self, pid: int) -> None:
        self._pid, self.peak, self.peak_of_all = pid, 0.0, 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def now(self) -> tuple[float, float]:
        """Give that of the process, and of all of them."""
        all_of_them = [self._pid]
        for pid in all_of_them:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    all_of_them += map(int, (task / "children").read_text().split())
        sizes = [resident(pid) for pid in all_of_them]
        return sizes[0], sum(sizes)

    def close(self) -> None:
        """Look no more."""
        self._ends.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.wait(0.1):
            one, of_all = self.now()
            self.peak, self.peak_of_all = max(self.peak, one), max(self.peak_of_all, of_all)


def resident(pid: int) -> float:
    """Give the resident memory of a process that shares none of it, MB; 0 once it has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return (int(pages[1]) - int(pages[2])) * 4096 / 1e6 if pid else 0.0


@contextlib.contextmanager
def serving() -> Generator[tuple[Address, int, Counter[str]]]:
    """Serve the studio with a token; gives its address, its process, and a count of what it writes."""
    command = [sys.executable, "-m", "ipoke", "serve", "--port", "0", "--token", TOKEN]
    said: Counter[str] = Counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if process.stdout is None or process.stderr is None:
            raise SystemExit("the server says nothing")

        def listen(stream: TextIO) -> None:
            with contextlib.suppress(ValueError):  # closed
                for line in stream:
                    said["bytes"] += len(line)

        threading.Thread(target=listen, args=(process.stderr,), daemon=True).start()
        try:
            line = process.stdout.readline()
            yield ("127.0.0.1", int(line.partition("127.0.0.1:")[2].partition("/")[0])), process.pid, said
        finally:
            process.kill()


def attack_at_once(server: Address, seconds: float, told: "Queue[Counter[str]]") -> None:
    """Run all attacks beside each other, in a process of their own, so that they only share the server.

    Their files are made before; an empty count tells that they are.
    """
    for build in (partial(noise_png, 1024), partial(noise_png, 256), partial(flat_png, 7000), bomb_files):
        build()
    told.put(Counter())
    wave = Wave(server, seconds)
    threads = [threading.Thread(target=one, args=(wave,), daemon=True) for one in ATTACKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, wave.end + PATIENCE_S - time.monotonic()))
    told.put(wave.answers)


def attack() -> dict[str, float | dict[str, int]]:
    """Measure the honest visitor alone, then in waves of attacks, and the server's memory all the while."""
    context = get_context("spawn")
    with serving() as (server, pid, said):
        honest_visits(server, 3.0, 0)
        memory = Memory(pid)
        before = memory.now()[0]
        alone = honest_visits(server, ALONE_S, 1000)
        answers: Counter[str] = Counter()
        attacked, after = [], []
        for number in range(WAVES):
            told: Queue[Counter[str]] = context.Queue()
            wave = context.Process(target=attack_at_once, args=(server, ATTACK_S, told), daemon=True)
            wave.start()
            told.get(timeout=4 * PATIENCE_S)
            time.sleep(SETTLE_S)
            attacked += honest_visits(server, ATTACK_S - SETTLE_S, 2000 + 1000 * number)
            answers += told.get(timeout=ATTACK_S)
            wave.join(ATTACK_S)
            time.sleep(AFTER_S)
            after.append(memory.now()[0])
        peak, peak_of_all = memory.peak, memory.peak_of_all
        last = memory.now()
        memory.close()
    served = [seconds for seconds in attacked if seconds is not None]
    quiet = [seconds for seconds in alone if seconds is not None]
    return {
        "first_frame_alone_ms": 1e3 * statistics.median(quiet),
        "first_frame_alone_worst_ms": 1e3 * max(quiet),
        "first_frame_attacked_ms": 1e3 * statistics.median(served),
        "first_frame_attacked_worst_ms": 1e3 * max(served),
        "times_as_long": statistics.median(served) / statistics.median(quiet),
        "honest_visits": float(len(attacked)),
        "honest_visits_refused": float(len(attacked) - len(served)),
        "logged_bytes": float(said["bytes"]),
        "memory_before_mb": before,
        "memory_peak_mb": peak,
        "memory_peak_with_decoders_mb": peak_of_all,
        "memory_after_first_wave_mb": after[0],
        "memory_after_last_wave_mb": after[-1],
        "memory_last_with_decoders_mb": last[1],
        "answers": dict(sorted(answers.items())),
    }
