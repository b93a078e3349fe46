"""The state of an SGX machine, and nothing but: EPC, EPCM, processors, package."""
