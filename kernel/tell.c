// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines in the log, and events: udev gets a change of the base with
 * DM_INTERPOSE, and those who wait for an event of the base by device-mapper
 * wake up.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kobject.h>
#include <linux/sched/mm.h>

#include "interpose.h"

/*
 * The destructor of a table waits for this, and its device is suspended until
 * then: memory must not be reclaimed through it.
 */
void tell(struct redirect *r, const char *what)
{
	unsigned int noio = memalloc_noio_save();
	char text[32];
	char *env[2] = { text };
	struct mapped_device *md;

	pr_info("%pg: %s\n", r->plain.bdev, what);
	snprintf(text, sizeof(text), "DM_INTERPOSE=%s", what);
	mutex_lock(&r->table_lock);
	if (r->table) {
		md = dm_table_get_md(r->table);
		kobject_uevent_env(&disk_to_dev(dm_disk(md))->kobj,
				   KOBJ_CHANGE, env);
		dm_table_event(r->table);
	}
	mutex_unlock(&r->table_lock);
	memalloc_noio_restore(noio);
}

bool disk_dead(const struct redirect *r)
{
	return test_bit(GD_DEAD, &r->plain.bdev->bd_disk->state);
}

/* In the one work that does it: each is told once. */
void tell_trouble(struct redirect *r)
{
	if (atomic_long_read(&r->bypassed) && !r->told_bypassed) {
		r->told_bypassed = true;
		tell(r, "bypassed");
	}
	if (disk_dead(r) && !r->told_dead) {
		r->told_dead = true;
		tell(r, "dead");
	}
}
