"""Ports of this machine."""

import os
import socket


def chosen_port(default: int) -> int:
    """Returns PACE_PORT, else `default` or the next free one. Raises RuntimeError where PACE_PORT is taken."""
    wanted = int(os.environ.get("PACE_PORT") or 0)
    if not wanted:
        return free_port(default)
    if answers(wanted):
        raise RuntimeError(f"port {wanted} is taken by another process; set PACE_PORT to a free one, or leave it out")
    return wanted


def free_port(wanted: int = 0) -> int:
    """Returns `wanted`, or the next port above it that is free on loopback; any free one for 0."""
    for port in range(wanted, wanted + 100) if wanted else [0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise RuntimeError(f"no port from {wanted} to {wanted + 99} is free; set PACE_PORT")


def answers(port: int) -> bool:
    """Tells whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def outward_address() -> str:
    """Returns this machine's address on its network: that of the route to elsewhere. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def at(host: str, port: int) -> str:
    """Returns the URL by which this machine itself reaches what listens on that host."""
    if host in ("", "0.0.0.0", "::", "localhost"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
