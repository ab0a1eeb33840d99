"""Extract videos on the machines of a Ray cluster: Ray hands out the jobs and repeats those whose worker died."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import torch

from ipoke.core.errors import InputError
from ipoke.data.extract import VideoJob, extract
from ipoke.data.workers import Extracted

LOCAL = "local"
"""Address that starts a cluster on this machine, for as long as the work takes."""
RETRIES = 3
"""How often a job is repeated whose worker died; then the video is dropped with that reason."""
_AHEAD = 2
"""Jobs per processor of the cluster that may be begun before the first of them is taken."""


def extract_on_ray(jobs: Sequence[VideoJob], address: str, workers: int) -> Iterator[Extracted]:
    """Extract videos on a cluster and yield them in the order of the jobs.

    All machines must see the videos under the same paths. This process alone writes, so that nothing is lost when a
    worker, or a whole machine with workers, goes away.

    Args:
        jobs: What is to be extracted.
        address: Of a running cluster, ``auto`` for the one that this machine belongs to, or `LOCAL`.
        workers: Processes of a local cluster; on another one, Ray decides.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    if not jobs:
        return
    ray = _ray()
    try:
        ray.init(
            address=address,
            num_cpus=workers if address == LOCAL else None,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"--ray: no cluster at {address} ({why}); start one with ray start, or use local") from error
    try:
        yield from _in_order(ray, jobs)
    finally:
        ray.shutdown()


def _in_order(ray: Any, jobs: Sequence[VideoJob]) -> Iterator[Extracted]:
    remote = ray.remote(_extract).options(num_cpus=1, max_retries=RETRIES)
    ahead = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[tuple[VideoJob, Any]] = deque()
    for job in jobs:
        waiting.append((job, remote.remote(job)))
        if len(waiting) >= ahead:
            yield _taken(ray, *waiting.popleft())
    while waiting:
        yield _taken(ray, *waiting.popleft())


def _extract(job: VideoJob) -> Extracted:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    return extract(job)


def _taken(ray: Any, job: VideoJob, reference: Any) -> Extracted:
    try:
        return ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError):
        why = f"{1 + RETRIES} processes that decoded it died; the file may be broken, or too large for the memory"
        return job.dropped(why), []


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray: needs Ray; install it with pip install 'ipoke[ray]'") from error
    return ray
