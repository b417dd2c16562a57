// SPDX-License-Identifier: GPL-2.0-only
/*
 * The redirect: bios addressed to a plain block device are handed to a
 * device-mapper device, its front, instead.
 *
 * An ftrace hook sends every call of submit_bio_noacct() through submit() while
 * the module is loaded, so that the kernel's text is changed at two quiet
 * moments only. A wrapper and not a change of the bio in the hook itself:
 * submit() runs in the caller's context under SRCU, so that synchronize_srcu()
 * tells when every bio it redirected has been handed on. Without that a task
 * preempted between the redirect and the front could still submit to a front
 * that is gone.
 */
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/srcu.h>

#include "interpose.h"

DEFINE_STATIC_SRCU(submitters);
static DEFINE_HASHTABLE(redirects, 6);	/* by disk; read under submitters */
static DEFINE_MUTEX(control);		/* serialises attach and detach */

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

/*
 * Does a bio to another device of the same disk touch what is redirected? Both
 * ranges in sectors of the disk.
 */
static bool overlaps(const struct redirect *r, struct bio *bio)
{
	sector_t start = bio->bi_bdev->bd_start_sect + bio->bi_iter.bi_sector;
	sector_t plain = r->plain->bd_start_sect;

	return bio_sectors(bio) && start < plain + r->size &&
	       start + bio_sectors(bio) > plain;
}

/*
 * A partition's bio is already at home on the disk when it carries
 * BIO_REMAPPED: what is left of a split comes back that way.
 */
static struct redirect *find(struct bio *bio)
{
	struct block_device *bdev = bio->bi_bdev;
	struct redirect *r, *found = NULL;

	if (bio_flagged(bio, BIO_INTERPOSED) || bio_flagged(bio, BIO_REMAPPED))
		return NULL;
	hash_for_each_possible_rcu(redirects, r, node,
				   (unsigned long)bdev->bd_disk,
				   srcu_read_lock_held(&submitters)) {
		if (r->plain == bdev)
			found = r;
		else if (r->plain->bd_disk == bdev->bd_disk &&
			 op_is_write(bio_op(bio)) && overlaps(r, bio))
			atomic_long_inc(&r->bypassed);
	}
	return found;
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
	if (!clone) {
		bio_wouldblock_error(bio);
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

	if (bio_sectors(bio) && bio->bi_iter.bi_sector >= r->size) {
		submit_bio_noacct(bio);
		return;
	}
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
	 * where bio_set_polled() sets it. EAGAIN would make io_uring try the same
	 * for ever.
	 */
	if (bio->bi_opf & REQ_POLLED) {
		bio_clear_polled(bio);
		bio->bi_opf &= ~REQ_NOWAIT;
	}
	/* EAGAIN makes the caller try again where it may block; EOPNOTSUPP not. */
	if (bio->bi_opf & REQ_NOWAIT && !bdev_nowait(front)) {
		bio_wouldblock_error(bio);
		return;
	}
	pass(r, bio);
}

/* What callers of submit_bio_noacct() run instead. */
static void submit(struct bio *bio)
{
	int idx = srcu_read_lock(&submitters);
	struct redirect *r = find(bio);

	if (r)
		redirect(r, bio);
	else
		submit_bio_noacct(bio);
	srcu_read_unlock(&submitters, idx);
}

/* Calls from this module are the wrapper's own. */
static void notrace hook(unsigned long ip, unsigned long parent_ip,
			 struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	if (!within_module(parent_ip, THIS_MODULE))
		jump_to(fregs, submit);
}

static struct ftrace_ops hook_ops = {
	.func = hook,
	/* PERMANENT: kernel.ftrace_enabled=0 would let writes pass the front. */
	.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
};

/*
 * Reads one block, synchronously. A bio with REQ_RAHEAD fails on a suspended
 * device, others wait until it is resumed.
 */
int redirect_read(struct block_device *bdev, struct page *page, blk_opf_t flags)
{
	struct bio_vec vec;
	struct bio bio;
	int r;

	bio_init(&bio, bdev, &vec, 1, REQ_OP_READ | flags);
	__bio_add_page(&bio, page, bdev_logical_block_size(bdev), 0);
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return r;
}

/* Nothing the plain device promised may be lost on the way. */
static int check_limits(const struct redirect *r)
{
	struct block_device *front = r->front.bdev;

	if (bdev_nr_sectors(front) != r->size)
		return -EINVAL;
	if (bdev_logical_block_size(front) != bdev_logical_block_size(r->plain))
		return -EINVAL;
	if (bdev_write_cache(r->plain) && !bdev_write_cache(front))
		return -EINVAL;
	if (bdev_fua(r->plain) && !bdev_fua(front))
		return -EINVAL;
	return 0;
}

static void all_passed(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct redirect, passing)->idle);
}

static int hold_front(struct redirect *r, dev_t dev)
{
	struct mapped_device *md = dm_get_md(dev);
	int err;

	if (!md)
		return -ENOTBLK;
	dm_put(md);
	err = held_bdev_open(&r->front, dev);
	if (err)
		return err;
	err = check_limits(r);
	if (!err)
		err = percpu_ref_init(&r->passing, all_passed, 0, GFP_KERNEL);
	if (err) {
		held_bdev_close(&r->front);
		return err;
	}
	init_completion(&r->idle);
	r->front_dev = dev;
	return 0;
}

static void drop_front(struct redirect *r)
{
	percpu_ref_kill(&r->passing);
	wait_for_completion(&r->idle);
	percpu_ref_exit(&r->passing);
	held_bdev_close(&r->front);
}

static bool taken(struct block_device *plain)
{
	struct redirect *r;

	hash_for_each_possible(redirects, r, node,
			       (unsigned long)plain->bd_disk)
		if (r->plain == plain)
			return true;
	return false;
}

/*
 * Redirects from here on. When it returns, no bio that went past the front is
 * still on its way to the device, as far as the block layer can tell: bios of a
 * bio-based driver and those that blk-throttle holds back are waited for by a
 * freeze of the filesystem only.
 */
int redirect_attach(struct redirect *r, dev_t front)
{
	int err;

	mutex_lock(&control);
	err = -EBUSY;
	if (taken(r->plain))
		goto out;
	err = hold_front(r, front);
	if (err)
		goto out;
	atomic_long_set(&r->bypassed, 0);
	hash_add_rcu(redirects, &r->node, (unsigned long)r->plain->bd_disk);
	synchronize_srcu(&submitters);
	drain_queue(bdev_get_queue(r->plain));
out:
	mutex_unlock(&control);
	return err;
}

/*
 * Returns when nothing leads to the front any more and nothing is in it. It
 * waits for as long as the front is suspended.
 */
void redirect_detach(struct redirect *r)
{
	mutex_lock(&control);
	hash_del_rcu(&r->node);
	synchronize_srcu(&submitters);
	drop_front(r);
	mutex_unlock(&control);
}

/*
 * The clones of each redirect have a pool of their own: where one device stands
 * on a file of another, a bio below must not wait for one above. With a rescuer,
 * as what is above may hand down several bios at once.
 */
int redirect_setup(struct redirect *r, struct block_device *plain,
		   sector_t size)
{
	r->plain = plain;
	r->size = size;
	return bioset_init(&r->passages, BIO_POOL_SIZE,
			   offsetof(struct passage, clone),
			   BIOSET_NEED_RESCUER);
}

void redirect_teardown(struct redirect *r)
{
	bioset_exit(&r->passages);
}

int redirect_init(void)
{
	int err = ftrace_set_filter_ip(&hook_ops,
				       (unsigned long)submit_bio_noacct, 0, 0);

	if (!err)
		err = register_ftrace_function(&hook_ops);
	if (err) {
		ftrace_free_filter(&hook_ops);
		return err;
	}
	/* Tasks that were past the entry of submit_bio_noacct() before. */
	synchronize_rcu_tasks();
	return 0;
}

/*
 * A task may be on its way out of submit(), an interrupt out of passed(): their
 * text must not go before.
 */
void redirect_exit(void)
{
	unregister_ftrace_function(&hook_ops);
	synchronize_srcu(&submitters);
	synchronize_rcu_tasks();
	synchronize_rcu();
	ftrace_free_filter(&hook_ops);
}
