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
static struct bio_set splits;

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

/* The part of a bio that the front has: the device has grown since. */
static struct bio *within(const struct redirect *r, struct bio *bio)
{
	struct bio *head;

	if (bio_end_sector(bio) <= r->size || !bio_sectors(bio))
		return bio;
	if (bio->bi_iter.bi_sector >= r->size)
		return NULL;
	head = bio_split(bio, r->size - bio->bi_iter.bi_sector, GFP_NOIO,
			 &splits);
	if (!IS_ERR_OR_NULL(head))
		bio_chain(head, bio);
	return head;
}

static void redirect(const struct redirect *r, struct bio *bio)
{
	struct block_device *front = r->front.bdev;
	struct bio *head;

	/*
	 * The submitter looked at the plain device's abilities. Discarding is
	 * advice that may be ignored; an error would make ext4 stop discarding
	 * for as long as it is mounted.
	 */
	if (bio_op(bio) == REQ_OP_DISCARD && !bdev_max_discard_sectors(front)) {
		bio_endio(bio);
		return;
	}
	/* EAGAIN makes the caller try again where it may block; EOPNOTSUPP not. */
	if (bio->bi_opf & REQ_NOWAIT && !bdev_nowait(front)) {
		bio_wouldblock_error(bio);
		return;
	}
	head = within(r, bio);
	if (IS_ERR(head)) {
		bio_io_error(bio);
		return;
	}
	if (head) {
		bio_clear_polled(head);
		bio_set_dev(head, front);
		submit_bio_noacct(head);
	}
	if (head != bio)
		submit_bio_noacct(bio);
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

/*
 * Waits until every bio that was handed to the front has completed. While the
 * front is suspended they wait in its queue, in order: the read comes back after
 * all of them have entered its targets. Then nothing is in flight when the
 * suspend returns, or the front is suspended again, which means the same.
 */
static void drain_front(struct redirect *r)
{
	struct block_device *front = r->front.bdev;
	unsigned int order = get_order(bdev_logical_block_size(front));
	struct page *page = alloc_pages(GFP_NOIO | __GFP_NOFAIL, order);

	redirect_read(front, page, 0);
	__free_pages(page, order);
	dm_internal_suspend_fast(r->md);
	dm_internal_resume_fast(r->md);
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

static int hold_front(struct redirect *r, dev_t dev)
{
	int err;

	r->md = dm_get_md(dev);
	if (!r->md)
		return -ENOTBLK;
	err = held_bdev_open(&r->front, dev);
	if (!err) {
		err = check_limits(r);
		if (!err) {
			r->front_dev = dev;
			return 0;
		}
		held_bdev_close(&r->front);
	}
	dm_put(r->md);
	return err;
}

static void drop_front(struct redirect *r)
{
	held_bdev_close(&r->front);
	dm_put(r->md);
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
	drain_front(r);
	drop_front(r);
	mutex_unlock(&control);
}

int redirect_init(void)
{
	int err = bioset_init(&splits, BIO_POOL_SIZE, 0, 0);

	if (err)
		return err;
	err = ftrace_set_filter_ip(&hook_ops, (unsigned long)submit_bio_noacct,
				   0, 0);
	if (!err)
		err = register_ftrace_function(&hook_ops);
	if (err) {
		ftrace_free_filter(&hook_ops);
		bioset_exit(&splits);
		return err;
	}
	/* Tasks that were past the entry of submit_bio_noacct() before. */
	synchronize_rcu_tasks();
	return 0;
}

/* A task may be on its way out of submit(): its text must not go before. */
void redirect_exit(void)
{
	unregister_ftrace_function(&hook_ops);
	synchronize_srcu(&submitters);
	synchronize_rcu_tasks();
	ftrace_free_filter(&hook_ops);
	bioset_exit(&splits);
}
