"""Who asks: an address, and the name that whoever is there chose."""

import ipaddress
from typing import NamedTuple


class Visitor(NamedTuple):
    """One of those who ask from an address; names are chosen freely, so limits count addresses too."""

    address: str
    name: str


def visitor_of(host: str | None, name: str) -> Visitor:
    """Say who asks from a host; whoever has an IPv6 address has all of its /64, which counts as one."""
    return Visitor(address_of(host), name[:64])


def address_of(host: str | None) -> str:
    """Name the address that limits count.

    >>> address_of("2001:db8:1:2:aaaa::1") == address_of("2001:db8:1:2:bbbb::1") == "2001:db8:1:2::/64"
    True
    >>> address_of("::ffff:192.0.2.7")
    '192.0.2.7'
    """
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
