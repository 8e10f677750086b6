"""A real SkyWalking OAP server with H2 inside, and what an agent would send to it."""

from tests.peers.oap.agent import instance_id, log, segment, service_id
from tests.peers.oap.server import OapServer

__all__ = ["OapServer", "instance_id", "log", "segment", "service_id"]
