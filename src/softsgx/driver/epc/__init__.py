"""The EPC as memory: which pages are free, and who is charged for the others.

Nothing here knows what an enclave is.
"""
