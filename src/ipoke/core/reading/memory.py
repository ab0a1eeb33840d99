"""A limit on the memory of this process that counts what it takes from here on."""

from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None


def can_limit_memory() -> bool:
    """Tell whether this system lets a process limit its memory; macOS and Windows do not."""
    return resource is not None and mapped_bytes() is not None


def limit_memory(extra: int) -> bool:
    """Let this process map no more than ``extra`` bytes beyond what it has mapped, or than the system allows it.

    Returns:
        Whether the limit holds.
    """
    mapped = mapped_bytes()
    if resource is None or mapped is None:
        return False
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = mapped + extra if hard == resource.RLIM_INFINITY else min(mapped + extra, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))
    except (ValueError, OSError):
        return False
    return True


def mapped_bytes() -> int | None:
    """Count what this process has mapped; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize() if resource is not None else None
