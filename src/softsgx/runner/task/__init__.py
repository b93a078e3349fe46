"""A process and a call of its, as the kernel tells of them."""
