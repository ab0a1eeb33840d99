"""Measure how long the studio takes to answer a hand: in a browser, over HTTP, and for several visitors at once.

    python benchmarks/studio.py --out results.json
    python benchmarks/studio.py --attack --out results.json

Needs the extras ui and browser, and chromium; without them the browser's figures are left out. Every figure is the
median of rounds in which all ways take turns. "from nothing" is the way without anything kept from drag to drag: a
whole clip is drawn for every preview. With --attack, what an honest visitor waits beside others who mean harm, and the
memory that the server takes: two minutes, loopback only. Leave the machine idle meanwhile.
"""

import argparse
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import torch

import ipoke
from ipoke.evaluation.bench.machine import describe
from ipoke.sampling.model import bundled_stills
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import plain_terms
from studio_attack import attack

DRAGS = {
    "still": ((38, 137), (0, 36)),
    "tulips": ((187, 50), (40, 10)),
    "bear": ((225, 78), (0, 40)),
    "cat": ((60, 52), (-10, 40)),
    "dog": ((220, 70), (10, -30)),
}
"""Where a hand takes hold of each bundled still, and how far it pulls, px."""
MOVES = 24
REST_S = 0.4
"""For which a hand holds still before it lets go, where it does."""
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)


@contextmanager
def serving() -> Generator[str]:
    """Serve the studio in a process of its own; gives its address."""
    command = [sys.executable, "-m", "ipoke", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield (process.stdout.readline() if process.stdout else "").split()[-1]
        finally:
            process.kill()


def over_http(address: str, rounds: int) -> dict[str, float]:
    """Drag each still: previews one after another, then clips."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    first_previews, rates = [], []
    firsts: dict[bool, list[float]] = {False: [], True: []}
    finals: list[float] = []
    for number in range(2 * rounds):
        rests = number % 2 == 1
        for picture, drag in DRAGS.items():
            times = []
            for move in range(1, MOVES + 1):
                began = time.perf_counter()
                post(connection, "preview", question(picture, drag, move / MOVES, number)).read()
                times.append(time.perf_counter() - began)
            first_previews.append(times[0])
            rates.append((MOVES - 1) / sum(times[1:]))
            time.sleep(REST_S if rests else 0)
            began = time.perf_counter()
            answer = post(connection, "clips", question(picture, drag, 1.0, number))
            line = next_frame(answer)
            firsts[rests].append(time.perf_counter() - began)
            while "sketch" in line:
                line = next_frame(answer)
            if not rests:
                finals.append(time.perf_counter() - began)
            answer.read()
    return {
        "first_preview_ms": 1e3 * statistics.median(first_previews),
        "previews_per_second": statistics.median(rates),
        "previews_per_second_worst": min(rates),
        "first_frame_ms": 1e3 * statistics.median(firsts[False]),
        "first_frame_ms_worst": 1e3 * max(firsts[False]),
        "first_frame_after_a_rest_ms": 1e3 * statistics.median(firsts[True]),
        "first_frame_after_a_rest_ms_worst": 1e3 * max(firsts[True]),
        "first_frame_that_is_no_sketch_ms": 1e3 * statistics.median(finals),
    }


def next_frame(answer: http.client.HTTPResponse) -> dict:
    """Read lines up to the next frame."""
    while True:
        line = json.loads(answer.readline())
        if line["kind"] == "frame":
            return line


def question(picture: str, drag: tuple, share: float, seed: int) -> dict:
    """Ask for a clip of a drag that has gone a share of its way."""
    (x, y), (dx, dy) = drag
    poke = {"x": x, "y": y, "dx": dx * share, "dy": dy * share}
    return {"picture": picture, "pokes": [poke], "residuals": [[[seed, 0, 1]]]}


def post(connection: http.client.HTTPConnection, call: str, asked: dict) -> http.client.HTTPResponse:
    """Send a question; the answer can be read."""
    connection.request("POST", f"/api/{call}", json.dumps(asked), {"X-Visitor": "benchmark"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{call}: {answer.status} {answer.read().decode()}")
    return answer


def in_process(rounds: int) -> dict[str, float]:
    """Time what a preview computes with what the drag before left, from nothing, and for visitors together."""
    torch.set_num_threads(1)
    model = ipoke.load("scenes-64")
    stills = {name: image for name, image in bundled_stills().items() if name in DRAGS}
    following, anew, together, apart = [], [], [], []
    for number in range(rounds):
        pictures = {name: model.open(image) for name, image in stills.items()}
        for move in range(1, 5):
            asked = {name: rough(DRAGS[name], move / 4, number) for name in pictures}
            for name, picture in pictures.items():
                began = time.perf_counter()
                drawn = picture.draw(asked[name])
                picture.show(drawn, [model.frames - 1])
                (following if move > 1 else []).append(time.perf_counter() - began)
            if move > 1:
                jobs = [picture.prepare(asked[name]) for name, picture in pictures.items()]
                sampler = next(iter(pictures.values())).sampler
                began = time.perf_counter()
                sampler.draw(jobs)
                together.append(time.perf_counter() - began)
                began = time.perf_counter()
                for job in jobs:
                    sampler.draw([job])
                apart.append(time.perf_counter() - began)
        for name, image in stills.items():
            began = time.perf_counter()
            model.poke(image, rough(DRAGS[name], 1.0, number).pokes, seed=number)
            anew.append(time.perf_counter() - began)
    return {
        "preview_ms": 1e3 * statistics.median(following),
        "from_nothing_ms": 1e3 * statistics.median(anew),
        "five_visitors_together_ms": 1e3 * statistics.median(together),
        "five_visitors_one_by_one_ms": 1e3 * statistics.median(apart),
    }


def rough(drag: tuple, share: float, seed: int) -> SampleRequest:
    """Ask for a preview of a drag that has gone a share of its way."""
    (x, y), (dx, dy) = drag
    return SampleRequest((ipoke.Poke(x, y, dx * share, dy * share),), tuple(plain_terms(seed, 1)), rough=True)


def in_browser(address: str, rounds: int) -> dict[str, float]:
    """Drag with a mouse on the page, and read what the page says of itself."""
    from playwright.sync_api import sync_playwright

    rates, firsts = [], {False: [], True: []}
    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, headless=True, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_timeout(1500)
        for number in range(2 * rounds + 1):
            rests = number % 2 == 1
            (x, y), (dx, dy) = DRAGS["still"]
            box = page.locator("#picture").bounding_box()
            if box is None:
                raise SystemExit("the page shows no picture")
            scale = box["width"] / 256
            page.evaluate("document.body.removeAttribute('data-first-frame-ms')")
            page.mouse.move(box["x"] + x * scale, box["y"] + (y + number) * scale)
            page.mouse.down()
            for move in range(1, 61):
                page.mouse.move(
                    box["x"] + (x + dx * move / 60) * scale, box["y"] + (y + number + dy * move / 60) * scale
                )
                page.wait_for_timeout(16)
            page.wait_for_timeout(1e3 * REST_S if rests else 0)
            page.mouse.up()
            for _ in range(400):
                if page.evaluate("document.body.dataset.allFramesMs && document.body.dataset.firstFrameMs"):
                    break
                page.wait_for_timeout(25)
            page.wait_for_timeout(800)
            if number:
                firsts[rests].append(float(page.evaluate("document.body.dataset.firstFrameMs")))
                rates.append(float(page.evaluate("document.body.dataset.previewRate")))
            page.keyboard.press("Control+z")
            page.wait_for_timeout(800)
        browser.close()
    return {
        "first_frame_ms": statistics.median(firsts[False]),
        "first_frame_after_a_rest_ms": statistics.median(firsts[True]),
        "previews_per_second": statistics.median(rates),
    }


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--attack", action="store_true", help="measure beside visitors who mean harm, nothing else")
    asked = parser.parse_args()
    results: dict[str, dict] = {"machine": describe()}
    if asked.attack:
        results["attack"] = attack()
    else:
        results["in_process"] = in_process(asked.rounds)
        with serving() as address:
            results["over_http"] = over_http(address, asked.rounds)
            if CHROMIUM is not None:
                results["in_browser"] = in_browser(address, asked.rounds)
    for part, figures in results.items():
        print(part)
        for name, value in figures.items():
            print(f"  {name:36} {value:8.1f}" if isinstance(value, float) else f"  {name:36} {value}")
    if asked.out is not None:
        asked.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
