"""Whole rollouts on a real control plane, by the real daemon process."""
