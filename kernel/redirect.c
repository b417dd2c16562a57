// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attach and detach.
 *
 * Everything that may take long is done by workers: a message to the base runs
 * under its live table, and whoever suspends or reloads the base waits for it.
 * The message waits for the worker, but no longer than until it is killed or
 * the base is about to be suspended; the worker goes on alone.
 *
 *	NONE -> ATTACHING -> ATTACHED -> DETACHING -> NONE
 *	             |                       ^
 *	             +-- failed, cancelled --+
 *
 * control is held for changes of state and nothing else, so a device that is
 * stuck delays its own attach and detach only.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "interpose.h"

static DEFINE_MUTEX(control);
static LIST_HEAD(reserved);			/* all but REDIRECT_NONE */
static struct workqueue_struct *workers;

static void set_state(struct redirect *r, enum redirect_state state)
{
	WRITE_ONCE(r->state, state);
	wake_up_all(&r->wait);
}

static bool busy(const struct redirect *r)
{
	enum redirect_state state = READ_ONCE(r->state);

	return state == REDIRECT_ATTACHING || state == REDIRECT_DETACHING ||
	       READ_ONCE(r->proving);
}

static int await(struct redirect *r)
{
	int err = wait_event_killable(r->wait, !busy(r) ||
				      READ_ONCE(r->suspending));

	if (err)
		return -EINTR;
	return busy(r) ? -EINPROGRESS : 0;
}

/* A suspend of the base ends the wait of a message, which would block it. */
void redirect_suspending(struct redirect *r, bool suspending)
{
	WRITE_ONCE(r->suspending, suspending);
	wake_up_all(&r->wait);
}

/*
 * Under control. Bios do not find the front any more; those that have found it
 * are waited for by their references. The order is that of find_and_hold().
 */
static void withdraw(struct redirect *r)
{
	if (r->published)
		hook_withdraw(r);
	r->published = false;
	set_state(r, REDIRECT_DETACHING);
	percpu_ref_kill(&r->passing);
}

/* Nothing is in the front, and since the kill a grace period has passed. */
static void all_passed(struct percpu_ref *ref)
{
	struct redirect *r = container_of(ref, struct redirect, passing);

	queue_work(workers, &r->releasing);
}

/*
 * Waits for the bios that had passed the hook when the redirect was not yet
 * published: until then they may be anywhere before the device's queue, after
 * it in the queue. Each of their tasks has run to the queue or sleeps when a
 * grace period of RCU tasks is over, and it may sleep only for entry to a
 * frozen queue, which a thaw of the queue ends. Not seen are bios of a
 * bio-based driver, those that blk-throttle holds back, those of a task that
 * sleeps for memory to split one, and those that a driver above has put off
 * (current->bio_list): a freeze of the filesystem waits for them.
 */
static void settle(struct redirect *r)
{
	struct request_queue *q = bdev_get_queue(r->plain.bdev);

	do {
		drain_queue(q, &r->cancelled);
		synchronize_rcu_tasks();
		/* not empty: whoever came before us has not entered the queue */
	} while (waitqueue_active(&q->mq_freeze_wq) &&
		 !READ_ONCE(r->cancelled));
	drain_queue(q, &r->cancelled);
}

/* Does a bio to the plain device get to the base, by way of the front? */
static int prove(struct redirect *r)
{
	int err = check_front(r);

	if (!err)
		err = probe_through(r, r->plain.bdev);
	return err == -EXDEV ? -ENOLINK : err;
}

/*
 * One that leads elsewhere would write the device's data there: it is probed
 * before any bio is sent to it.
 */
static int open_front(struct redirect *r)
{
	int err = held_bdev_open(&r->front, r->front_dev);

	if (err)
		return err;
	r->opened = true;
	err = check_front(r);
	if (err)
		return err;
	if (loses_atomic_writes(r)) {
		pr_warn("%pg: atomic writes would fail\n", r->plain.bdev);
		return -EOPNOTSUPP;
	}
	return probe_through(r, r->front.bdev);
}

static int engage(struct redirect *r)
{
	int err = open_front(r);

	if (err)
		return err;
	err = hook_get();
	if (err)
		return err;
	r->hooked = true;
	hook_publish(r);
	r->published = true;
	err = prove(r);
	if (!err)
		settle(r);
	return err;
}

static void free_redirect(struct kref *ref)
{
	struct redirect *r = container_of(ref, struct redirect, ref);

	percpu_ref_exit(&r->passing);
	bioset_exit(&r->passages);
	held_bdev_close(&r->plain);
	mutex_destroy(&r->table_lock);
	kfree(r);
}

static void redirect_put(struct redirect *r)
{
	kref_put(&r->ref, free_redirect);
}

static void attach_work(struct work_struct *work)
{
	struct redirect *r = container_of(work, struct redirect, attaching);
	int err = engage(r);

	kref_get(&r->ref);
	mutex_lock(&control);
	if (!err && r->cancelled)
		err = -EINTR;
	r->attach_error = err;
	if (err)
		withdraw(r);
	else
		set_state(r, REDIRECT_ATTACHED);
	mutex_unlock(&control);
	if (err)
		pr_warn("%pg: attach failed: %d\n", r->plain.bdev, err);
	else
		tell(r, "attached");
	redirect_put(r);
}

static void release_work(struct work_struct *work)
{
	struct redirect *r = container_of(work, struct redirect, releasing);
	bool attached = !r->attach_error;

	if (r->opened)
		held_bdev_close(&r->front);
	if (r->hooked)
		hook_put();
	cancel_work_sync(&r->telling);
	/*
	 * Before anybody can see that it is over, and unload the module: its text
	 * stays until redirect_exit() has waited for this worker.
	 */
	module_put(THIS_MODULE);
	mutex_lock(&control);
	r->opened = false;
	r->hooked = false;
	list_del(&r->reserved);
	set_state(r, REDIRECT_NONE);
	mutex_unlock(&control);
	if (attached)
		tell(r, "detached");
	redirect_put(r);
}

static void proof_work(struct work_struct *work)
{
	struct redirect *r = container_of(work, struct redirect, proof);
	int err = prove(r);

	percpu_ref_put(&r->passing);
	mutex_lock(&control);
	r->proof_error = err;
	if (err == -ENOLINK)
		WRITE_ONCE(r->lost, true);
	WRITE_ONCE(r->proving, false);
	wake_up_all(&r->wait);
	mutex_unlock(&control);
	redirect_put(r);
}

static void tell_work(struct work_struct *work)
{
	tell_trouble(container_of(work, struct redirect, telling));
}

/* From any context. Whoever drops a reference to r cancels this before. */
void redirect_tell_later(struct redirect *r)
{
	queue_work(workers, &r->telling);
}

/* Another redirect of the same sectors would have its writes bypassed. */
static bool overlaps_another(const struct redirect *r)
{
	sector_t start = r->plain.bdev->bd_start_sect;
	struct redirect *o;

	list_for_each_entry(o, &reserved, reserved) {
		sector_t other = o->plain.bdev->bd_start_sect;

		if (o->plain.bdev->bd_disk == r->plain.bdev->bd_disk &&
		    start < other + o->size && other < start + r->size)
			return true;
	}
	return false;
}

/* Under control: the attach begins, unless it cannot. */
static int begin(struct redirect *r, dev_t front)
{
	if (r->state != REDIRECT_NONE || r->proving || overlaps_another(r))
		return -EBUSY;
	r->front_dev = front;
	r->cancelled = false;
	r->told_bypassed = false;
	r->lost = false;
	atomic_long_set(&r->bypassed, 0);
	percpu_ref_reinit(&r->passing);
	list_add(&r->reserved, &reserved);
	kref_get(&r->ref);
	__module_get(THIS_MODULE);
	set_state(r, REDIRECT_ATTACHING);
	queue_work(workers, &r->attaching);
	return 0;
}

/* Under control. */
static void cancel(struct redirect *r)
{
	if (r->state == REDIRECT_ATTACHING)
		WRITE_ONCE(r->cancelled, true);
	else if (r->state == REDIRECT_ATTACHED)
		withdraw(r);
}

/*
 * Redirects from here on. It opens nothing itself: that may wait for I/O, which
 * a base that is being suspended holds back. When it returns, no bio that went
 * past the front is still on its way to the device, as far as settle() can tell.
 */
int redirect_attach(struct redirect *r, dev_t front)
{
	struct mapped_device *md = dm_get_md(front);
	int err;

	if (!md)
		return -ENOTBLK;
	dm_put(md);
	mutex_lock(&control);
	err = begin(r, front);
	mutex_unlock(&control);
	if (err)
		return err;
	err = await(r);
	if (!err)
		return r->attach_error;
	mutex_lock(&control);
	cancel(r);
	mutex_unlock(&control);
	return err == -EINPROGRESS ? -EBUSY : err;
}

/*
 * No bio finds the front from here on. Returns 0 when nothing is in it any
 * more, for which it waits as long as the front is suspended. Another call
 * waits again.
 */
int redirect_detach(struct redirect *r)
{
	bool attached;

	mutex_lock(&control);
	attached = r->state != REDIRECT_NONE;
	cancel(r);
	mutex_unlock(&control);
	return attached ? await(r) : -ENOTCONN;
}

/*
 * Is it all as it was when it was attached? The message may be killed and the
 * device detached before the worker is done, which therefore keeps the front.
 */
int redirect_prove(struct redirect *r)
{
	int err = 0;

	mutex_lock(&control);
	if (r->state != REDIRECT_ATTACHED)
		err = -ENOTCONN;
	else if (r->proving)
		err = -EBUSY;
	if (!err) {
		r->proving = true;
		kref_get(&r->ref);
		percpu_ref_get(&r->passing);
		queue_work(workers, &r->proof);
	}
	mutex_unlock(&control);
	if (!err)
		err = await(r);
	return err ?: r->proof_error;
}

/*
 * The clones of each redirect have a pool of their own: where one device stands
 * on a file of another, a bio below must not wait for one above. With a
 * rescuer, as what is above may hand down several bios at once.
 */
struct redirect *redirect_create(struct dm_table *table, dev_t plain,
				 sector_t size)
{
	struct redirect *r = kzalloc(sizeof(*r), GFP_KERNEL);
	int err = -ENOMEM;

	if (!r)
		return ERR_PTR(err);
	err = held_bdev_open(&r->plain, plain);
	if (err)
		goto free;
	err = bioset_init(&r->passages, BIO_POOL_SIZE,
			  offsetof(struct passage, clone),
			  BIOSET_NEED_RESCUER);
	if (err)
		goto close;
	err = percpu_ref_init(&r->passing, all_passed,
			      PERCPU_REF_INIT_DEAD | PERCPU_REF_ALLOW_REINIT,
			      GFP_KERNEL);
	if (err)
		goto bioset;
	kref_init(&r->ref);
	mutex_init(&r->table_lock);
	init_waitqueue_head(&r->wait);
	INIT_WORK(&r->attaching, attach_work);
	INIT_WORK(&r->releasing, release_work);
	INIT_WORK(&r->proof, proof_work);
	INIT_WORK(&r->telling, tell_work);
	r->table = table;
	r->size = size;
	return r;
bioset:
	bioset_exit(&r->passages);
close:
	held_bdev_close(&r->plain);
free:
	kfree(r);
	return ERR_PTR(err);
}

/*
 * The base has no such table any more. If it was swapped away while attached,
 * bios go direct at once; what is in the front has the new table below.
 */
void redirect_abandon(struct redirect *r)
{
	mutex_lock(&control);
	cancel(r);
	mutex_unlock(&control);
	mutex_lock(&r->table_lock);
	r->table = NULL;
	mutex_unlock(&r->table_lock);
	cancel_work_sync(&r->telling);
	redirect_put(r);
}

int redirect_init(void)
{
	int err;

	workers = alloc_workqueue("dm-interpose", WQ_UNBOUND, 0);
	if (!workers)
		return -ENOMEM;
	err = hook_init();
	if (err)
		destroy_workqueue(workers);
	return err;
}

void redirect_exit(void)
{
	destroy_workqueue(workers);
	hook_exit();
}
