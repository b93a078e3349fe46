"""`libsoftsgx.so`: its functions, their arguments, and what their answers mean."""

import ctypes
import os

from softsgx.native.images import HERE, NotBuilt

LIB_NAME = "libsoftsgx.so"
_PID = ctypes.c_int
_U64 = ctypes.c_uint64
_WAITS = (ctypes.c_int, _U64)
_PROTOTYPES: dict[str, tuple[type, ...]] = {
    "softsgx_read": (*_WAITS, _PID, _U64, ctypes.c_void_p, ctypes.c_size_t),
    "softsgx_write": (*_WAITS, _PID, _U64, ctypes.c_char_p, ctypes.c_size_t),
    "softsgx_copy_pages": (*_WAITS, _PID, _U64, ctypes.c_void_p, ctypes.c_size_t),
    "softsgx_waits": _WAITS,
    "softsgx_watch": (ctypes.c_void_p,),
    "softsgx_wake": (ctypes.c_void_p,),
    "softsgx_take_over": (ctypes.c_void_p, ctypes.c_uint32),
    "softsgx_files": (ctypes.c_char_p, ctypes.c_size_t),
    "softsgx_know": (*(ctypes.c_void_p,) * 3, ctypes.c_size_t),
    "softsgx_known": (*(ctypes.c_void_p,) * 3, ctypes.c_size_t),
    "softsgx_plain_begin": (ctypes.c_int, *(ctypes.c_void_p,) * 2),
    "softsgx_plain_end": (ctypes.c_int,),
    "softsgx_plain_quiet": (ctypes.c_int,),
    "softsgx_take_start": (ctypes.c_int, _PID, ctypes.c_void_p),
    "softsgx_put_start": (ctypes.c_int, ctypes.c_char_p),
    "softsgx_adopt": (_PID,),
    "softsgx_recall": (
        *(ctypes.c_char_p, ctypes.c_char_p),
        *(ctypes.c_size_t, ctypes.c_void_p),
    ),
    "softsgx_number_of": (ctypes.c_char_p, ctypes.c_size_t),
    "softsgx_checker": (ctypes.c_char_p, ctypes.c_char_p),
    "softsgx_serve": (*(ctypes.c_int,) * 2, *(ctypes.c_void_p,) * 3),
    "softsgx_served": (ctypes.c_uint32,),
    "softsgx_hear": (),
    "softsgx_attend": (_PID, *(ctypes.c_int,) * 2, ctypes.c_void_p),
    "softsgx_deafen": (),
    "softsgx_all_descriptors": (),
    "softsgx_lay_out": (
        ctypes.c_void_p,
        _U64,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    ),
    "softsgx_launch": (
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.POINTER(ctypes.c_int),
    ),
    "softsgx_follow_exec": (
        *(ctypes.c_int, _U64, _PID, _PID),
        *(_U64, ctypes.c_void_p),
    ),
    "softsgx_read_hidden": (_PID, _U64, ctypes.c_void_p),
    "softsgx_inject": (
        *(*_WAITS, ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_void_p, ctypes.c_size_t),
    ),
    "softsgx_take_fd": (_PID, ctypes.c_int),
    "softsgx_wait_child": (_PID,),
    "softsgx_xcr0": (),
    "softsgx_tsc_khz": (),
    "softsgx_cpuid": (ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p),
    "softsgx_poke": (*_WAITS, _PID, _U64, ctypes.c_uint8),
    "softsgx_same_memory": (_PID, _PID),
    "softsgx_is_leader": (_PID,),
    "softsgx_act_as": (ctypes.c_uint32, ctypes.c_uint32),
    "softsgx_code_mappings": (_PID, ctypes.c_void_p, ctypes.c_size_t),
    "softsgx_mapping_at": (_PID, _U64, ctypes.c_void_p),
    "softsgx_rewrite_cpuid": (
        *(*_WAITS, _PID, ctypes.c_void_p),
        *(ctypes.c_size_t, ctypes.c_uint8),
    ),
}


def library(loaded: list[ctypes.CDLL] = []) -> ctypes.CDLL:  # noqa: B006 -- the one
    """Return the library; NotBuilt."""
    if not loaded:
        loaded.append(_load())
    return loaded[0]


def _load() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL(f"{HERE}/{LIB_NAME}", use_errno=True)
    except OSError as error:
        raise NotBuilt(f"{LIB_NAME} is not built: run `make build`") from error
    try:
        for name, argtypes in _PROTOTYPES.items():
            function = getattr(lib, name)
            function.argtypes = argtypes
            function.restype = ctypes.c_long
    except AttributeError as error:
        raise NotBuilt(f"{LIB_NAME} is out of date: run `make build`") from error
    return lib


def checked(result: int, what: str) -> int:
    """Return what a function did, or raise the OSError that it stands for."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)
    return result
