"""The JSON API, call by call: what it answers, and how it refuses."""

import base64
import io
import json
import time

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from starlette.testclient import TestClient

import ipoke
from ipoke.data.codec import encode_mp4
from ipoke.data.poke import Poke
from ipoke.sampling.model import bundled_stills
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Term
from ipoke.studio.limits import LIMITS
from ipoke.studio.server import Studio, make_app

HERE = "http://127.0.0.1:8000"
DRAG = {"x": 38, "y": 137, "dx": 0, "dy": 34}
ASKED = {"picture": "still", "pokes": [DRAG], "residuals": [[[7, i, 1]] for i in range(3)]}


def png_of(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def video(frames=14):
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8), (0, 0), 2)
    moved = []
    for step in range(frames):
        frame = ground.copy()
        frame[30 + 2 * step : 50 + 2 * step, 40:60] = (250, 200, 20)
        moved.append(frame)
    return encode_mp4(moved, 10)


def lines(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def without_sketch(said):
    return [line for line in said if not line.get("sketch")]


def image_in(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def is_refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"error"}
    assert "\n" not in told["error"]
    assert all(word in told["error"] for word in words), told
    return True


def test_the_page_is_there_and_loads_nothing_from_elsewhere(client, studio):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name, content in studio.files.items():
        assert client.get(f"/static/{name}").content == content
        assert b"http://" not in content.replace(b"http://www.w3.org/", b"")
        assert b"https://" not in content


def test_about_says_what_there_is(client):
    about = client.get("/api/about").json()
    assert about["model"] | {"sha256": ""} == {
        **{"name": "scenes-64", "size": 64, "frames": 10, "predicts_motion": True},
        "sha256": "",
    }
    assert {"picture": "still", "name": "still", "width": 256, "height": 256} in about["pictures"]
    assert about["limits"]["samples"] == LIMITS.samples


def test_where_the_model_lies_is_not_told_to_visitors(studio):
    with TestClient(make_app(Studio(studio.model, "a/folder/run")), base_url=HERE) as client:
        assert client.get("/api/about").json()["model"]["name"] == "run"


def test_clips_are_those_of_the_model_frame_by_frame(client, studio):
    begin, *frames, end = without_sketch(lines(client.post("/api/clips", json=ASKED)))
    assert begin == {"kind": "begin", "samples": 3, "frames": 10, "width": 256, "height": 256}
    order = [(line["sample"], line["frame"]) for line in frames]
    assert order == [(0, k) for k in range(1, 11)] + [(i, k) for k in range(1, 11) for i in (1, 2)]
    wanted = studio.model.poke(ipoke.bundled_still(), [ipoke.Poke(**DRAG)], samples=3, seed=7)
    for line in frames:
        shown = image_in(base64.b64decode(line["jpeg"]))
        assert np.abs(shown.astype(int) - wanted[line["sample"], line["frame"]]).mean() < 2
    assert sorted(sample["rank"] for sample in end["samples"]) == [0, 1, 2]
    by_rank = sorted(end["samples"], key=lambda sample: sample["rank"])
    assert [sample["bits_per_dim"] for sample in by_rank] == sorted(s["bits_per_dim"] for s in by_rank)
    for sample in end["samples"]:
        (reached,) = sample["reached"]
        assert reached["error"] == pytest.approx(np.hypot(reached["x"] - 38, reached["y"] - 171), abs=0.02)
        motion = np.frombuffer(base64.b64decode(sample["motion"]), np.int8).reshape(64, 64, 2) * end["motion_unit"]
        assert motion[34, 9] + [38, 137] == pytest.approx([reached["x"], reached["y"]], abs=end["motion_unit"])
    spread = np.frombuffer(base64.b64decode(end["spread"]), np.uint8).reshape(64, 64)
    assert spread.max() == 255
    assert end["ambiguity"] > 0.5


def test_a_preview_is_the_last_frame(client):
    answer = client.post("/api/preview", json={**ASKED, "residuals": ASKED["residuals"][:1]})
    said = without_sketch(lines(client.post("/api/clips", json=ASKED)))
    last = next(line for line in said if line.get("frame") == 10)
    shown, wanted = image_in(answer.content).astype(int), image_in(base64.b64decode(last["jpeg"]))
    assert np.abs(shown - wanted).mean() < 2
    (reached,) = json.loads(answer.headers["x-reached"])
    assert reached["error"] < 4
    assert float(answer.headers["x-milliseconds"]) > 0


def test_the_same_mood_under_another_pull(client):
    other = {**ASKED, "pokes": [{**DRAG, "dy": -20}], "residuals": [[[7, 0, 1]]]}
    ends = [
        lines(client.post("/api/clips", json=asked))[-1]["samples"][0]
        for asked in ({**other, "guidance": False}, other)
    ]
    assert ends[1]["reached"][0]["error"] < 0.5 * ends[0]["reached"][0]["error"]


def test_a_picture_is_turned_upright_and_kept(client):
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :40] = (200, 10, 10)
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(buffer, format="JPEG", exif=exif, quality=95)
    kept = client.post("/api/pictures", content=buffer.getvalue()).json()
    assert (kept["width"], kept["height"]) == (40, 80)
    shown = image_in(client.get(f"/api/pictures/{kept['picture']}").content)
    assert shown[:38].mean((0, 1)) == pytest.approx([200, 10, 10], abs=6)
    end = lines(client.post("/api/clips", json={**ASKED, "picture": kept["picture"], "pokes": []}))[-1]
    assert end["samples"][0]["reached"] == []


def test_large_pictures_are_scaled_down(client):
    kept = client.post("/api/pictures", content=png_of(np.zeros((1500, 2000, 3), np.uint8))).json()
    assert (kept["width"], kept["height"]) == (1024, 768)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 400, "the request is empty"),
        (b"not a picture", 415, "not an image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, 415, "the file"),
        (b"x" * 400_000, 413, "at most 0.3 MB"),
    ],
    ids=["nothing", "text", "a damaged one", "too many bytes"],
)
def test_what_is_no_picture_is_refused(client, data, status, words):
    assert is_refused(client.post("/api/pictures", content=data), status, words)


def test_a_picture_of_too_many_pixels_is_refused_before_it_fills_the_memory(client):
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, format="PNG")
    assert is_refused(client.post("/api/pictures", content=bomb.getvalue()), 415, "the file")
    assert client.get("/api/about").status_code == 200


def test_a_frame_of_a_video_becomes_a_picture(client):
    first, later = (client.post(f"/api/frame?at={at}", content=video()).json() for at in (0, 1.0))
    assert first["seconds"] == pytest.approx(1.4, abs=0.01)
    shown = [image_in(client.get(f"/api/pictures/{one['picture']}").content) for one in (first, later)]
    assert shown[0][40, 50, 0] > 200 > shown[1][40, 50, 0]
    assert shown[1][60, 50, 0] > 200
    assert is_refused(client.post("/api/frame?at=soon", content=video()), 400, "at:", "'soon'")
    assert is_refused(client.post("/api/frame", content=b"zzz"), 415, "video")


def test_a_video_moves_the_picture(client):
    *_, end = lines(client.post("/api/transfer?picture=still", content=video()))
    assert end["round_trip"] < 1e-4
    assert end["poke"]["dy"] > 10
    assert is_refused(client.post("/api/transfer?picture=still", content=video(5)), 415, "5 frames", "at least 11")
    assert is_refused(client.post("/api/transfer?picture=gone", content=video()), 404, "gone")


def test_motion_correlation_is_highest_at_the_dragged_place(client):
    told = client.post("/api/correlation", json={"picture": "still", "x": 38, "y": 137}).json()
    values = np.frombuffer(base64.b64decode(told["values"]), np.uint8).reshape(64, 64)
    assert values[34, 9] == 255
    assert values[2, 60] < 100
    assert client.post("/api/affinity", json={"picture": "still", "x": 38, "y": 137}).json() == told


def test_where_a_hand_rests_the_clip_is_drawn_ahead_and_is_the_same(client, studio):
    asked = {"picture": "tulips", "pokes": [{"x": 187, "y": 50, "dx": 30, "dy": 9}], "residuals": [[[4, 0, 1]]]}
    cold = lines(client.post("/api/clips", json=asked))
    opened = studio.pictures.get("tulips").opened(studio.model)
    client.post("/api/preview", json={**asked, "residuals": [[[5, 0, 1]]]})
    client.post("/api/preview", json=asked)
    expected = SampleRequest((Poke(187, 50, 30, 9),), (((Term(4, 0, 1.0)),),))
    for _ in range(200):
        if opened.kept(expected) is not None:
            break
        time.sleep(0.05)
    assert opened.kept(expected) is not None
    warm = lines(client.post("/api/clips", json=asked))
    assert [line.get("jpeg") for line in warm] == [line.get("jpeg") for line in cold]


def test_where_a_hand_lets_go_a_sketch_comes_first_and_the_clips_are_the_same(client, studio):
    asked = {
        "picture": "bear",
        "pokes": [{"x": 217, "y": 116, "dx": -6, "dy": -30}],
        "residuals": [[[6, i, 1]] for i in range(2)],
    }
    for length in (-10, -26):
        pulled = [{**asked["pokes"][0], "dy": length}]
        client.post("/api/preview", json={**asked, "pokes": pulled, "residuals": asked["residuals"][1:]})
    begin, *frames, end = lines(client.post("/api/clips", json=asked))
    assert (begin["kind"], end["kind"]) == ("begin", "end")
    sketch, clips = frames[:10], frames[10:]
    assert [(line["sample"], line["frame"], line.get("sketch")) for line in sketch] == [
        (1, k, True) for k in range(1, 11)
    ]
    assert len(clips) == 20
    assert not any("sketch" in line for line in clips)
    wanted = studio.model.poke(bundled_stills()["bear"], [ipoke.Poke(217, 116, -6, -30)], samples=2, seed=6)
    for line in clips:
        shown = image_in(base64.b64decode(line["jpeg"]))
        assert np.abs(shown.astype(int) - wanted[line["sample"], line["frame"]]).mean() < 2
    last = image_in(base64.b64decode(sketch[-1]["jpeg"])).astype(int)
    off = [np.abs(last - other).mean() for other in (wanted[1, -1], wanted[0, -1], wanted[1, 0])]
    assert off[0] == min(off)


def test_the_last_frame_becomes_a_picture(client):
    one = {**ASKED, "residuals": [[[7, 0, 1]]]}
    kept = client.post("/api/continue", json=one).json()
    last = next(line for line in lines(client.post("/api/clips", json=one)) if line.get("frame") == 10)
    shown = image_in(client.get(f"/api/pictures/{kept['picture']}").content).astype(int)
    assert np.abs(shown - image_in(base64.b64decode(last["jpeg"]))).mean() < 2


@pytest.mark.parametrize("kind", ["mp4", "webm", "webp", "gif", "png", "frames", "tracks"])
@pytest.mark.parametrize("samples", [1, 3])
def test_a_file_carries_its_session_and_opens_again(client, kind, samples):
    image = ipoke.bundled_still()[:220, :240].copy()
    kept = client.post("/api/pictures", content=png_of(image)).json()["picture"]
    asked = {**ASKED, "picture": kept, "residuals": ASKED["residuals"][:samples], "history": {"said": "ü" * 300}}
    file = client.post(f"/api/export?format={kind}", json=asked)
    assert file.status_code == 200, file.text
    again = client.post("/api/reopen", content=file.content).json()
    assert again["history"] == asked["history"]
    assert again["same_model"] is True
    assert again["question"]["pokes"] == [DRAG]
    assert again["question"]["residuals"] == [[[7, i, 1]] for i in range(samples)]
    assert (image_in(client.get(f"/api/pictures/{again['picture']}").content) == image).all()
    if kind in ("webp", "gif"):
        with Image.open(io.BytesIO(file.content)) as played:
            assert sum(1 for _ in ImageSequence.Iterator(played)) >= 9  # those that are equal are one
    if kind == "tracks":
        told = json.loads(file.content)
        assert {len(track) for track in told["tracks"]} == {11}
        (x, y, _), (end_x, end_y, seen) = told["tracks"][0][0], told["tracks"][0][-1]
        assert (x, y) == pytest.approx((38, 137), abs=2.5)
        assert (end_x - x, end_y - y) == pytest.approx((0, 34), abs=4)
        assert seen == 1


def test_a_chain_is_kept_with_the_picture_that_it_began_with(client):
    first = {**ASKED, "residuals": [[[7, 0, 1]]]}
    second = client.post("/api/continue", json=first).json()["picture"]
    asked = {**first, "picture": second, "pokes": [], "start": "still", "history": ["first", "second"]}
    file = client.post("/api/export?format=webp", json=asked)
    again = client.post("/api/reopen", content=file.content).json()
    start = again["start"]["picture"]
    assert (image_in(client.get(f"/api/pictures/{start}").content) == ipoke.bundled_still()).all()
    repeated = client.post("/api/continue", json={**first, "picture": start}).json()["picture"]
    there = [client.get(f"/api/pictures/{name}").content for name in (repeated, second, again["picture"])]
    assert there[0] == there[1] == there[2]
    alone = client.post("/api/export?format=webp", json={**asked, "start": second})
    assert client.post("/api/reopen", content=alone.content).json()["start"] is None


def test_a_transfer_is_a_sample_like_others(client, studio):
    *told, end = lines(client.post("/api/transfer?picture=still", content=video()))
    assert np.frombuffer(base64.b64decode(end["given"]), "<f4").shape == (16 * 8 * 8,)
    asked = {"picture": "still", "pokes": [end["poke"]], "residuals": [{"given": end["given"]}], "guidance": False}
    again = lines(client.post("/api/clips", json=asked))
    assert [line["jpeg"] for line in again[1:-1]] == [line["jpeg"] for line in told[1:]]
    names: dict = {}
    python = client.post("/api/command", json=asked).json()["python"]
    exec(python.replace("read_image('picture.png')", "ipoke.bundled_still()"), names)
    shown = image_in(base64.b64decode(again[-2]["jpeg"])).astype(int)
    assert np.abs(shown - names["clips"][0, -1]).mean() < 2
    file = client.post("/api/export?format=webp", json=asked)
    question = client.post("/api/reopen", content=file.content).json()["question"]
    assert question["residuals"] == asked["residuals"]


def test_a_residual_of_another_model_is_said_in_the_last_line(client):
    def last_of(values):
        given = {"given": base64.b64encode(values.astype("<f4").tobytes()).decode()}
        return lines(client.post("/api/clips", json={**ASKED, "residuals": [given]}))[-1]

    assert "it belongs to another model" in last_of(np.zeros(9))["error"]
    assert "not finite" in last_of(np.full(1024, np.nan))["error"]


def test_a_file_without_a_session_is_refused(client):
    for data in (b"zzz", png_of(np.zeros((9, 9, 3), np.uint8)), video(), b"GIF89a;", b"PK\x03\x04zz", b"{}"):
        assert is_refused(client.post("/api/reopen", content=data), 415, "contains no session")


def test_commands_sample_the_same(client, studio):
    told = client.post("/api/command", json={**ASKED, "name": "it's.png"}).json()
    assert told["shell"].startswith("""ipoke poke 'it'"'"'s.png' --poke 38,137,0,34 --samples 3 --seed 7""")
    names: dict = {}
    stepped = {**ASKED, "residuals": [[[7, 0, 1], [8, 0, 0.4]]], "temperature": 0.8}
    for asked in (ASKED, stepped):
        told = client.post("/api/command", json=asked).json()
        told["python"] = told["python"].replace("read_image('picture.png')", "ipoke.bundled_still()")
        exec(told["python"], names)
        frames = [line for line in lines(client.post("/api/clips", json=asked)) if line["kind"] == "frame"]
        for line in frames:
            shown = image_in(base64.b64decode(line["jpeg"])).astype(int)
            assert np.abs(shown - names["clips"][line["sample"], line["frame"]]).mean() < 2
    assert told["shell"] is None


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"picture": "nowhere"}, 404, "send it again"),
        ({"picture": "../still"}, 422, "picture"),
        ({"residuals": []}, 422, "residuals"),
        ({"residuals": [[[0, 0, 0]]]}, 422, "no term with a weight other than 0"),
        ({"residuals": [[[0, i, 1]] for i in range(10)]}, 422, "residuals"),
        ({"residuals": [{"given": "?"}]}, 422, "not base64"),
        ({"residuals": [{"given": "A" * 100_004}]}, 422, "residuals"),
        ({"temperature": 2.5}, 422, "temperature"),
        ({"frames": 4000}, 422, "frames"),
        ({"pokes": [DRAG] * 13}, 422, "pokes"),
        ({"pokes": [{"x": 1, "y": 1}]}, 422, "pokes.0.dx"),
        ({"sampels": 3}, 422, "sampels"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_asked_is_refused(client, change, status, words):
    assert is_refused(client.post("/api/clips", json={**ASKED, **change}), status, words)


def test_a_poke_beside_the_picture_is_said_in_the_last_line(client):
    last = lines(client.post("/api/clips", json={**ASKED, "pokes": [{**DRAG, "x": 999}]}))[-1]
    assert last["kind"] == "error"
    assert "outside the image of 256 x 256 px" in last["error"]


@pytest.mark.parametrize(
    "path", ["/static/server.py", "/static/..%2fserver.py", "/static/%2e%2e/guard.py", "/etc/passwd"]
)
def test_nothing_but_the_page_is_served(client, path):
    assert is_refused(client.get(path), 404, "no such")


def test_other_sites_and_other_names_are_refused(client):
    assert is_refused(client.get("/api/about", headers={"host": "evil.example"}), 403, "host")
    assert is_refused(client.get("/api/about", headers={"origin": "https://evil.example"}), 403, "origin")
    assert is_refused(client.get("/api/about", headers={"sec-fetch-site": "cross-site"}), 403, "origin")
    assert client.get("/api/about", headers={"origin": HERE, "sec-fetch-site": "same-origin"}).status_code == 200


def test_with_a_token_nobody_asks_without_it(studio):
    with TestClient(
        make_app(Studio(studio.model, "scenes-64"), "secret-of-the-house"), base_url="http://10.0.0.5"
    ) as client:
        assert client.get("/").status_code == 200
        assert is_refused(client.get("/api/about"), 401, "token")
        assert is_refused(client.get("/api/about", headers={"authorization": "Bearer guess"}), 401, "token")
        assert client.get("/api/about", headers={"authorization": "Bearer secret-of-the-house"}).status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ASKED, "x", "y", "dx"]), inner, max_size=4)
    ),
    max_leaves=12,
)
CALLS = (
    "preview",
    "clips",
    "correlation",
    "continue",
    "export?format=png",
    "command",
    "reopen",
    "pictures",
    "frame",
    "transfer?picture=still",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=st.sampled_from(CALLS), sent=JSON.map(json.dumps).map(str.encode) | st.binary(max_size=60))
def test_whatever_is_sent_the_server_lives(client, call, sent):
    answer = client.post(f"/api/{call}", content=sent)
    assert 400 <= answer.status_code < 500, (call, sent, answer.text)
    assert set(answer.json()) == {"error"}
