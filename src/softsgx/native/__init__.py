"""The one face of the C part: all ctypes and mmap of softsgx are in this room."""
