"""A limit on the memory that this process may map from now on."""

from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None


def can_limit_memory() -> bool:
    """Tell whether this system can limit the memory of a process; macOS and Windows cannot."""
    return resource is not None and mapped_bytes() is not None


def limit_memory(extra: int) -> bool:
    """Limit this process to ``extra`` bytes beyond what it has mapped, or to the limit of the system if that is lower.

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
    """Give the bytes that this process has mapped; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize() if resource is not None else None
