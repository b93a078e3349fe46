"""The manual's tables: structures, leaf numbers, error codes, faults, CPUID, MSRs."""
