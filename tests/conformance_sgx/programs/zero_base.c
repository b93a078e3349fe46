/* An enclave at base 0, as runtimes build them that enter by themselves: its range is
 * mapped RWX before ECREATE from the lowest address there may be, and again by MAP_FIXED
 * with what each segment may do.  What lies below is the enclave's and can be reached by
 * nobody.
 */
#include "host.h"

#include <elf.h>
#include <limits.h>
#include <sys/stat.h>

#include "../../../examples/hello/flat.h"

#define LOWEST 0x10000ul	/* vm.mmap_min_addr of most machines */
#define FIRST_TCS (LOWEST / PAGE)

static const uint8_t *elf;
static int device;
static volatile uint64_t fault_address, fault_vector, fault_error;
static ucontext_t seen;

static const char *beside(const char *name)
{
	static char path[2 * PATH_MAX], self[PATH_MAX];

	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	*strrchr(self, '/') = '\0';
	snprintf(path, sizeof(path), "%s/../enclave/%s", self, name);
	return path;
}

static void read_elf(void)
{
	int fd = open(beside("3.elf"), O_RDONLY);
	struct stat st;

	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	elf = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(elf != MAP_FAILED);
	close(fd);
}

static void create(const struct sigstruct *sig)
{
	struct secs secs = { .ssaframesize = 1, .size = ENCLAVE_SIZE };
	struct sgx_enclave_create create = { .src = (uint64_t)&secs };
	void *range = mmap((void *)LOWEST, ENCLAVE_SIZE - LOWEST,
			   PROT_READ | PROT_WRITE | PROT_EXEC,
			   MAP_SHARED | MAP_FIXED_NOREPLACE, device, 0);

	CHECK(range == (void *)LOWEST);
	memcpy(&secs.attributes, sig->attributes_and_xfrm, sizeof(sig->attributes_and_xfrm));
	CHECK(ioctl(device, SGX_IOC_ENCLAVE_CREATE, &create) == 0);
}

/* Add a segment, and map what of it may be mapped. */
static void add(const Elf64_Phdr *segment)
{
	const struct enclave e = { .fd = device };
	uint64_t length = (segment->p_memsz + PAGE - 1) & ~(PAGE - 1ul);
	uint64_t start = segment->p_vaddr, rights = segment->p_flags & 7;
	uint64_t flags = segment->p_flags & FLAT_PF_TCS ? SECINFO_TCS : SECINFO_REG;
	void *image = mmap(NULL, length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int prot = (rights & PF_R ? PROT_READ : 0) | (rights & PF_W ? PROT_WRITE : 0) |
		   (rights & PF_X ? PROT_EXEC : 0);

	CHECK(image != MAP_FAILED);
	memcpy(image, elf + segment->p_offset, segment->p_filesz);
	if (flags == SECINFO_REG)
		flags |= (rights & PF_R ? SECINFO_R : 0) | (rights & PF_W ? SECINFO_W : 0) |
			 (rights & PF_X ? SECINFO_X : 0);
	enclave_add(&e, image, start, length, flags,
		    !(segment->p_flags & FLAT_PF_UNMEASURED));
	munmap(image, length);
	if (start + length <= LOWEST)
		return;
	length -= start < LOWEST ? LOWEST - start : 0;
	start = start < LOWEST ? LOWEST : start;
	CHECK(mmap((void *)start, length, prot, MAP_SHARED | MAP_FIXED, device, 0) ==
	      (void *)start);
}

static void build(void)
{
	struct sigstruct sig = sigstruct_read(beside("3.sig"));
	struct sgx_enclave_init init = { .sigstruct = (uint64_t)&sig };
	struct sgx_enclave_remove_pages nothing = { 0 };
	const Elf64_Ehdr *header = (const void *)elf;
	const Elf64_Phdr *headers = (const void *)(elf + header->e_phoff);

	device = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	CHECK(device >= 0);
	CHECK_FAILS(ioctl(device, SGX_IOC_ENCLAVE_REMOVE_PAGES, &nothing), EINVAL);
	create(&sig);
	for (unsigned int i = 0; i < header->e_phnum; i++)
		if (headers[i].p_type == PT_LOAD)
			add(&headers[i]);
	CHECK(ioctl(device, SGX_IOC_ENCLAVE_INIT, &init) == 0);
}

/* A fault of the enclave: leave by way of the entry's end, the thread stays in there. */
static void on_fault(int signo, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	CHECK(signo == SIGSEGV);
	seen = *uc;
	fault_address = (uint64_t)info->si_addr;
	fault_vector = (uint64_t)GREG(uc, TRAPNO);
	fault_error = (uint64_t)GREG(uc, ERR);
	GREG(context, RIP) = (greg_t)own_back;
}

/* The page at 0 is a TCS: no mapping of it can be had, so nobody is there to resolve a
 * fault that comes before any look at the EPCM. */
static void touch_zero(uint64_t tcs)
{
	struct op op = { .what = DO_READ, .address = 0 };

	catch_signal(SIGSEGV, on_fault, SA_ONSTACK);
	own_enter(&op, tcs);
	check_synthetic(&seen, tcs, own_aep);
	CHECK(fault_vector == PF && fault_address == 0 && fault_error == PF_U);
}

int main(void)
{
	const uint64_t tcs = FIRST_TCS * PAGE;
	struct op op = { .what = DO_BASES };
	uint8_t byte = 7;

	read_elf();
	build();
	CHECK(own_enter(&op, tcs) == (uint64_t)own_aep);
	CHECK(((uint64_t *)op.data)[0] == ((uint64_t *)op.data)[2] + AREA_FS);
	op.what = DO_READ;
	op.address = (uint64_t)&byte;
	own_enter(&op, tcs + PAGE);
	CHECK(op.result == 7);
	touch_zero(tcs + 2 * PAGE);
	return 0;
}
