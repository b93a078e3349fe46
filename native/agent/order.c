/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads come with their answers as the scheduler likes.  One that was overtaken may give
 * back a right that was taken away since: its thread asks what holds by now.  See decision
 * record 47.
 */
#include "order.h"

/* The number of what was carried out last. */
static u32 latest;

static int overtaken(u32 number)
{
	return (int)(number - __atomic_load_n(&latest, __ATOMIC_RELAXED)) < 0;
}

/* What is done is as of that number. */
void order_said(u32 number)
{
	u32 last = __atomic_load_n(&latest, __ATOMIC_RELAXED);

	while ((int)(number - last) > 0 &&
	       !__atomic_compare_exchange_n(&latest, &last, number, 0, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
}

/* A mapping is made with no rights: these are said when it is there. */
static int is_about_rights(const struct answer *ans)
{
	for (u32 i = 0; i < ans->ctx.nops && i < MAX_OPS; i++)
		if (ans->ops[i].kind != OPKIND_PROTECT)
			return 0;
	return 1;
}

/* Make an answer one that nothing overtook; by who has the turn to carry it out. */
void order_keep(struct answer *ans)
{
	struct answer old;

	if (overtaken(ans->ctx.said) && is_about_rights(ans)) {
		memcpy(&old, ans, sizeof(old));
		ans->ctx.nops = ans->ctx.more = 0;
		call_supervisor(CALL_MOREOPS, (u64)ans, (u64)&old, 0, 0, 0);
		if (ans->ctx.nops) /* another supervisor's count begins anew */
			__atomic_store_n(&latest, ans->ctx.said, __ATOMIC_RELAXED);
	}
	order_said(ans->ctx.said);
}

/* The child is another process, of which nothing was said. */
void order_forked(void)
{
	latest = 0;
}
