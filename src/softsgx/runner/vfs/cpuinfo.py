"""/proc/cpuinfo as Linux would write it on the model's processor.  Text to text."""

from softsgx.arch.cpuid import LEAF_SGX, VENDOR_INTEL
from softsgx.driver.cpu import Cpu
from softsgx.machine.package import OPTED_IN, OPTED_IN_FLEXIBLE

_NAMES_OF_AMD = (
    "mmxext fxsr_opt 3dnowext 3dnow extd_apicid amd_dcm cmp_legacy svm extapic "
    "cr8_legacy sse4a misalignsse osvw ibs xop skinit wdt lwp fma4 tce nodeid_msr tbm "
    "topoext perfctr_core perfctr_nb bpext ptsc perfctr_llc mwaitx cpb hw_pstate "
    "proc_feedback vmmcall clzero irperf xsaveerptr rdpru amd_ppin amd_ibpb npt lbrv "
    "svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists pausefilter "
    "pfthreshold avic v_vmsave_vmload vgif x2avic v_spec_ctrl vnmi overflow_recov "
    "succor smca sme sev sev_es sev_snp debug_swap amd_lbr_v2 amd_lbr_pmc_freeze "
    "perfmon_v2 brs "
)
"""Flags of 80000001H and above that no Intel processor has."""

_OF_AMD = frozenset(_NAMES_OF_AMD.split())
_BUGS_OF_AMD = ("sysret_ss_attrs", "null_seg", "fxsave_leak", "amd_e400", "srso")
_AFTER = ("tsc_adjust", "fsgsbase")
"""Flags that `sgx` follows; the last resort is the end."""


def cpuinfo(native: str, cpu: Cpu) -> str:
    """Return the text under a machine's name, with the flags of SGX that are on."""
    return "".join(_line(line, cpu) for line in native.splitlines(keepends=True))


def _line(line: str, cpu: Cpu) -> str:
    label, colon, value = line.rstrip("\n").partition(":")
    key = label.strip()
    if not colon:
        return line
    if key == "flags":
        value = " " + " ".join(_flags(value.split(), cpu))
    elif cpu.model.identity is None:
        return line
    elif key == "bugs":
        value = " " + " ".join(b for b in value.split() if b not in _BUGS_OF_AMD)
    elif key == "TLB size":
        return ""
    elif key in (named := _named(value, cpu)):
        value = f" {named[key]}"
    return f"{label}:{value}\n"


def _named(value: str, cpu: Cpu) -> dict[str, str]:
    """Return the lines that tell who the processor is; *value* is the machine's own."""
    identity = cpu.model.identity
    if identity is None:
        return {}
    level = int(value) if value.strip().isdigit() else 0
    return {
        "vendor_id": VENDOR_INTEL,
        "cpu family": str(identity.family),
        "model": str(identity.model),
        "model name": identity.brand,
        "stepping": str(identity.stepping),
        "cpuid level": str(max(level, LEAF_SGX)),
    }


def _flags(flags: list[str], cpu: Cpu) -> list[str]:
    model, control = cpu.model, cpu.package.feature_control
    flags = [flag for flag in flags if flag not in ("sgx", "sgx_lc")]
    if model.vmx and "vmx" not in flags:
        flags.append("vmx")
    if model.identity is not None:
        flags = [flag for flag in flags if flag not in _OF_AMD]
    if not model.sgx1 or control & OPTED_IN != OPTED_IN:
        return flags
    at = next((flags.index(f) + 1 for f in _AFTER if f in flags), len(flags))
    flags.insert(at, "sgx")
    if model.flc and control & OPTED_IN_FLEXIBLE == OPTED_IN_FLEXIBLE:
        flags.append("sgx_lc")
    return flags
