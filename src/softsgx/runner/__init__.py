"""Runs unmodified programs: supervisor, agent, vDSO, CPUID and device views."""

from softsgx.runner.run import run

__all__ = ["run"]
