"""Runs unmodified programs: supervisor, agent, vDSO, CPUID and device views."""
