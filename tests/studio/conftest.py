"""One studio for all tests of its answers."""

import pytest
from starlette.testclient import TestClient

import ipoke
from ipoke.studio.limits import LIMITS
from ipoke.studio.server import Studio, make_app


@pytest.fixture(scope="package")
def studio():
    return Studio(ipoke.load("scenes-64"), "scenes-64", LIMITS._replace(upload_bytes=300_000, jobs_per_visitor=2))


@pytest.fixture(scope="package")
def client(studio):
    with TestClient(make_app(studio), base_url="http://127.0.0.1:8000") as client:
        yield client
