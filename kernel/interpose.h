/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTERPOSE_H
#define INTERPOSE_H

#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/kref.h>
#include <linux/percpu-refcount.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat.h"

/*
 * Marks the bios that a base sends down; struct mark, in front of the bio, says
 * to which device. The redirect of that device leaves them alone, those of
 * other devices do not: drivers such as raid0 hand the same bio on to a member.
 * The highest bit of bi_flags is free in all kernels this module is built for.
 * bio_set_dev() keeps it, and so does what is left of a bio after a split. No
 * clone inherits it, so a marked bio is always one of ours.
 */
#define BIO_INTERPOSED 15
static_assert(BIO_FLAG_LAST <= BIO_INTERPOSED);
static_assert(sizeof_field(struct bio, bi_flags) == 2);

struct mark {
	struct block_device *plain;
	bool probe;
};

static inline struct mark *mark_of(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct mark));
}

/*
 * A bio on its way through a front goes there as a clone. The redirect knows so
 * how many have not come back: the front itself does not, since device-mapper
 * takes a flush with data apart and queues its second half again later.
 */
struct passage {
	struct redirect *redirect;
	struct bio *bio;		/* of the submitter */
	struct bio clone;		/* must be last */
};

enum redirect_state {
	REDIRECT_NONE,
	REDIRECT_ATTACHING,
	REDIRECT_ATTACHED,
	REDIRECT_DETACHING,	/* bios that the front has are waited for */
};

/* One block that is read, and must come by the base as it is. */
struct probe {
	struct page *page;	/* the base knows the bio by it */
	void *copy;		/* of what the base read */
	sector_t sector;
	unsigned int size;
	bool passed;
};

/* A plain device, and the front its bios go to. */
struct redirect {
	struct kref ref;
	struct held_bdev plain;
	sector_t size;			/* of the front: the device may grow */
	struct bio_set passages;	/* of clones for the front */

	/* Written under control, in redirect.c. */
	enum redirect_state state;
	struct list_head reserved;	/* in a list, unless REDIRECT_NONE */
	bool opened, hooked, published;
	bool cancelled;			/* nobody wants the attach any more */
	bool proving;
	bool lost;			/* a proof has failed */
	int attach_error, proof_error;	/* of the last one */

	bool suspending;		/* the base: let go of its live table */
	wait_queue_head_t wait;		/* for any change of the above */

	dev_t front_dev;		/* unless REDIRECT_NONE */
	struct held_bdev front;		/* while opened */
	struct hlist_node route;	/* found by hook.c while published */
	struct percpu_ref passing;	/* bios on their way */
	struct work_struct attaching;
	struct work_struct releasing;
	struct work_struct proof;
	struct probe probe;

	atomic_long_t bypassed;		/* writes that came by another name */
	struct work_struct telling;	/* that it was bypassed, or is dead */
	bool told_bypassed, told_dead;
	struct mutex table_lock;	/* of what follows */
	struct dm_table *table;		/* of the base, while there is one */
};

/* redirect.c: attach and detach */
struct redirect *redirect_create(struct dm_table *table, dev_t plain,
				 sector_t size);
void redirect_abandon(struct redirect *r);
int redirect_attach(struct redirect *r, dev_t front);
int redirect_detach(struct redirect *r);
int redirect_prove(struct redirect *r);
void redirect_suspending(struct redirect *r, bool suspending);
void redirect_tell_later(struct redirect *r);
int redirect_init(void);
void redirect_exit(void);

/* check.c: what can be interposed, and by what */
const char *check_device(struct block_device *bdev);
int check_front(const struct redirect *r);
bool loses_atomic_writes(const struct redirect *r);
int probe_through(struct redirect *r, struct block_device *bdev);
bool probe_mapped(struct redirect *r, struct bio *bio);
void probe_read(struct redirect *r);

/* hook.c: the way of the bios */
int hook_get(void);
void hook_put(void);
void hook_publish(struct redirect *r);
void hook_withdraw(struct redirect *r);
int hook_init(void);
void hook_exit(void);

/* tell.c: logs and events */
void tell(struct redirect *r, const char *what);
void tell_trouble(struct redirect *r);
bool disk_dead(const struct redirect *r);

#endif
