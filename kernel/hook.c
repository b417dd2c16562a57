// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way of the bios: those addressed to a published plain device are handed
 * to its front, a device-mapper device, instead.
 *
 * An ftrace hook on submit_bio_noacct() looks every bio up, and sends the
 * caller of one that is to be redirected to submit(). A wrapper and not a
 * change of the bio in the hook itself: submit() runs in the caller's context,
 * takes a reference that the front is kept by, and may sleep. Other bios go on
 * as if the hook were not there: nothing ever waits for their submitters.
 */
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/srcu.h>

#include "interpose.h"

DEFINE_STATIC_SRCU(submitters);			/* keeps the text of submit() */
static DEFINE_HASHTABLE(routes, 6);		/* by disk, under RCU */
static DEFINE_MUTEX(hook_lock);
static unsigned int hook_users;			/* under hook_lock */

static bool marked(struct bio *bio, const struct redirect *r)
{
	return bio_flagged(bio, BIO_INTERPOSED) &&
	       mark_of(bio)->plain == r->plain.bdev;
}

/*
 * Is this bio to be redirected? Not if it comes from the base, and not if it
 * lies beyond the front, as the device has grown. A partition's bio is already
 * at home on the disk when it carries BIO_REMAPPED: what is left of a split
 * comes back that way.
 */
static bool addressed(struct bio *bio, const struct redirect *r)
{
	if (bio->bi_bdev != r->plain.bdev || marked(bio, r))
		return false;
	return !bio_sectors(bio) || bio->bi_iter.bi_sector < r->size;
}

/*
 * Does a write to another device of the same disk touch what is redirected?
 * Both ranges in sectors of the disk.
 */
static bool bypasses(struct bio *bio, const struct redirect *r)
{
	sector_t start = bio->bi_bdev->bd_start_sect + bio->bi_iter.bi_sector;
	sector_t plain = r->plain.bdev->bd_start_sect;

	if (bio->bi_bdev == r->plain.bdev || marked(bio, r))
		return false;
	return op_is_write(bio_op(bio)) && bio_sectors(bio) &&
	       start < plain + r->size && start + bio_sectors(bio) > plain;
}

/* Under rcu_read_lock(). */
static struct redirect *find(struct bio *bio)
{
	struct redirect *r;

	if (bio_flagged(bio, BIO_REMAPPED))
		return NULL;
	hash_for_each_possible_rcu(routes, r, route,
				   (unsigned long)bio->bi_bdev->bd_disk)
		if (addressed(bio, r))
			return r;
	return NULL;
}

static void count_bypassed(struct bio *bio)
{
	struct gendisk *disk = bio->bi_bdev->bd_disk;
	struct redirect *r;

	hash_for_each_possible_rcu(routes, r, route, (unsigned long)disk)
		if (r->plain.bdev->bd_disk == disk && bypasses(bio, r) &&
		    atomic_long_inc_return(&r->bypassed) == 1)
			redirect_tell_later(r);
}

/* Nothing of the front or of the redirect is touched after the put. */
static void passed(struct bio *clone)
{
	struct passage *p = container_of(clone, struct passage, clone);
	struct redirect *r = p->redirect;
	struct bio *bio = p->bio;

	if (clone->bi_status)
		bio->bi_status = clone->bi_status;
	bio_put(clone);
	bio_endio(bio);
	percpu_ref_put(&r->passing);
}

/*
 * Sends a bio through the front. What reaches beyond it, because the device has
 * grown, goes to the device itself.
 */
static void pass(struct redirect *r, struct bio *bio)
{
	gfp_t gfp = bio->bi_opf & REQ_NOWAIT ? GFP_NOWAIT : GFP_NOIO;
	bool beyond = bio_sectors(bio) && bio_end_sector(bio) > r->size;
	struct passage *p;
	struct bio *clone;

	clone = bio_alloc_clone(r->front.bdev, bio, gfp, &r->passages);
	if (!clone && bio->bi_opf & REQ_NOWAIT) {
		bio_wouldblock_error(bio);
		return;
	}
	if (!clone) {
		bio->bi_status = BLK_STS_RESOURCE;
		bio_endio(bio);
		return;
	}
	p = container_of(clone, struct passage, clone);
	p->redirect = r;
	p->bio = bio;
	clone->bi_end_io = passed;
	percpu_ref_get(&r->passing);
	if (beyond) {
		sector_t within = r->size - bio->bi_iter.bi_sector;

		bio_trim(clone, 0, within);
		bio_inc_remaining(bio);
		bio_advance(bio, within << SECTOR_SHIFT);
	}
	submit_bio_noacct(clone);
	if (beyond)
		submit_bio_noacct(bio);
}

static void redirect(struct redirect *r, struct bio *bio)
{
	struct block_device *front = r->front.bdev;

	/*
	 * The submitter looked at the plain device's abilities. Discarding is
	 * advice that may be ignored; an error would make ext4 stop discarding
	 * for as long as it is mounted.
	 */
	if (bio_op(bio) == REQ_OP_DISCARD && !bdev_max_discard_sectors(front)) {
		bio_endio(bio);
		return;
	}
	/*
	 * Completed by interrupt, it may wait: REQ_NOWAIT came with the polling
	 * where bio_set_polled() sets it. EAGAIN would make io_uring try the
	 * same for ever.
	 */
	if (bio->bi_opf & REQ_POLLED) {
		bio_clear_polled(bio);
		bio->bi_opf &= ~REQ_NOWAIT;
	}
	/* EAGAIN makes the caller try again where it may block. */
	if (bio->bi_opf & REQ_NOWAIT && !bdev_nowait(front)) {
		bio_wouldblock_error(bio);
		return;
	}
	pass(r, bio);
}

/*
 * A reference that is dead was killed after its redirect had left the table.
 * Who has seen it dead must not find the redirect once more, or submit() and
 * hook() would call each other until the stack ends.
 */
static struct redirect *find_and_hold(struct bio *bio)
{
	struct redirect *r;

	rcu_read_lock();
	r = find(bio);
	if (r && !percpu_ref_tryget_live(&r->passing)) {
		/* pairs with hook_withdraw() */
		smp_rmb();
		r = NULL;
	}
	rcu_read_unlock();
	return r;
}

/* What callers of submit_bio_noacct() run instead. */
static void submit(struct bio *bio)
{
	int idx = srcu_read_lock(&submitters);
	struct redirect *r = find_and_hold(bio);

	if (r) {
		redirect(r, bio);
		percpu_ref_put(&r->passing);
	} else {
		submit_bio_noacct(bio);
	}
	srcu_read_unlock(&submitters, idx);
}

static void notrace hook(unsigned long ip, unsigned long parent_ip,
			 struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct bio *bio = first_argument(fregs);

	rcu_read_lock();
	if (find(bio))
		jump_to(fregs, submit);
	else if (!bio_flagged(bio, BIO_REMAPPED))
		count_bypassed(bio);
	rcu_read_unlock();
}

static struct ftrace_ops hook_ops = {
	.func = hook,
	/* PERMANENT: ftrace_enabled=0 would let writes pass the front. */
	.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
};

/*
 * The kernel's text is changed with the first user and changed back after the
 * last one. Only attach and detach wait for that, which sleep in a worker.
 */
int hook_get(void)
{
	int err = 0;

	mutex_lock(&hook_lock);
	if (!hook_users)
		err = register_ftrace_function(&hook_ops);
	if (!err)
		hook_users++;
	mutex_unlock(&hook_lock);
	if (err)
		pr_err(KBUILD_MODNAME ": cannot hook submit_bio_noacct(): %d, another program may redirect it\n",
		       err);
	return err;
}

void hook_put(void)
{
	mutex_lock(&hook_lock);
	if (!--hook_users)
		unregister_ftrace_function(&hook_ops);
	mutex_unlock(&hook_lock);
}

/* From here on bios find it. Its reference must be live. */
void hook_publish(struct redirect *r)
{
	hash_add_rcu(routes, &r->route, (unsigned long)r->plain.bdev->bd_disk);
}

/*
 * Nobody finds it from here on who does not see it yet; the caller kills the
 * reference next, and a grace period passes before that is released.
 */
void hook_withdraw(struct redirect *r)
{
	hash_del_rcu(&r->route);
	/* pairs with find_and_hold() */
	smp_wmb();
}

int hook_init(void)
{
	return ftrace_set_filter_ip(&hook_ops,
				    (unsigned long)submit_bio_noacct, 0, 0);
}

/*
 * Nothing is attached any more. A task may still be on its way into submit(),
 * in it, or on its way out, an interrupt on its way out of passed(): their text
 * must not go before.
 */
void hook_exit(void)
{
	synchronize_rcu_tasks();
	synchronize_srcu(&submitters);
	synchronize_rcu_tasks();
	synchronize_rcu();
	ftrace_free_filter(&hook_ops);
}
