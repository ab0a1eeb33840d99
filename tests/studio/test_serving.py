"""`ipoke serve` as a process: it says where it is, keeps others out, and closes."""

import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from functools import partial

import pytest


def serve(*words, files=None):
    command = [sys.executable, "-m", "ipoke", "serve", "--port", "0", *words]
    begin = None if files is None else partial(resource.setrlimit, resource.RLIMIT_NOFILE, (files, files))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=begin)


def address_of(process):
    line = process.stdout.readline()
    assert line.startswith("the studio is open at http://"), (line, process.stderr.read())
    return line.split()[-1]


def close(process, how=signal.SIGINT):
    process.send_signal(how)
    return process.communicate(timeout=60)


def about(address, **headers):
    request = urllib.request.Request(f"{address}api/about", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_opens_and_closes(how):
    process = serve()
    try:
        assert about(address_of(process))["model"]["name"] == "scenes-64"
        out, err = close(process, how)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == "the studio has stopped; nothing that visitors sent was kept\n"
    assert "Traceback" not in err


def test_others_need_the_token():
    process = serve("--host", "0.0.0.0", "--open-to-others")
    try:
        address, _, token = address_of(process).partition("#token=")
        assert len(token) >= 32
        address = address.replace("0.0.0.0", "127.0.0.1")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            about(address)
        assert about(address, Authorization=f"Bearer {token}")["version"]
        close(process)
    finally:
        process.kill()


@pytest.mark.slow
def test_where_few_files_may_be_opened_nobody_locks_the_owner_out():
    token = "the-owner-of-the-house"
    process = serve("--token", token, files=128)
    flood = []
    try:
        address = address_of(process).partition("#")[0]
        port = int(address.rstrip("/").rpartition(":")[2])
        for index in range(200):
            flood.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            with contextlib.suppress(OSError):
                flood[-1].sendall(b"GET /api/about HTTP/1.1\r\nHost: x\r\n" + b"\r\n" * (index % 2))
            if index % 50 == 49:
                assert about(address, Authorization=f"Bearer {token}")["version"]
        _, err = close(process)
    finally:
        process.kill()
        for one in flood:
            one.close()
    assert process.returncode == 0
    assert len(err) < 10_000


def test_a_port_that_is_taken_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "ipoke", "serve", "--port", port]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert f"port {port}" in answer.stderr
    assert "choose another port" in answer.stderr


def test_the_process_that_decodes_ends_with_a_server_that_was_killed():
    killed = """
import asyncio, io, os, signal
import numpy as np
from PIL import Image
from ipoke.studio.decoding import Decoder

if __name__ == "__main__":
    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(file, format="PNG")
    print(asyncio.run(Decoder().picture(file.getvalue())).shape, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    # Whoever still holds the output keeps this from returning.
    done = subprocess.run([sys.executable, "-c", killed], capture_output=True, text=True, timeout=60)
    assert done.stdout == "(9, 9, 3)\n", done.stderr
    assert done.returncode == -signal.SIGKILL
