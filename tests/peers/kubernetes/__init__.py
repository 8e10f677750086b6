"""A real Kubernetes control plane with pretended kubelets (KWOK)."""

from tests.peers.kubernetes.api import KubernetesApi
from tests.peers.kubernetes.control_plane import KubernetesControlPlane
from tests.peers.kubernetes.stages import AFTER, BEHAVIOUR, BEHAVIOURS

__all__ = ["AFTER", "BEHAVIOUR", "BEHAVIOURS", "KubernetesApi", "KubernetesControlPlane"]
