/* SPDX-License-Identifier: Apache-2.0
 *
 * What a thread of ours writes for somebody else, by his rights.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "softsgx.h"

#define CAP_BIT (1u << CAP_SYS_RESOURCE)

/* Have the calling thread use files as a user does from now on: quotas and the room that
 * file systems keep for root hold for it.  Without privileges we are that user. */
long softsgx_act_as(uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[2];

	setfsgid(gid);
	setfsuid(uid);
	if (syscall(SYS_capget, &head, sets))
		return -errno;
	sets[0].effective &= ~CAP_BIT;
	return syscall(SYS_capset, &head, sets) ? -errno : 0;
}
