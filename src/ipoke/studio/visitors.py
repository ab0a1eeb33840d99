"""Visitors: an address, and a name that the page chooses."""

import ipaddress
from typing import NamedTuple


class Visitor(NamedTuple):
    """A visitor; clients choose names freely, so limits also count addresses."""

    address: str
    name: str


def visitor_of(host: str | None, name: str) -> Visitor:
    """Identify a visitor; all addresses of an IPv6 /64 network count as one."""
    return Visitor(address_of(host), name[:64])


def address_of(host: str | None) -> str:
    """Give the address that limits count.

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
