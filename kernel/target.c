// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-interpose: device-mapper beneath a plain block device that stays in use.
 *
 * Table:    0 <sectors> interpose <device>
 * Status:   <front, major:minor, or -> <bypassed> [attaching|detaching|dead|lost]
 * Messages: attach <front>, detach, prove
 *
 * The target maps one to one onto a device without claiming it. "attach" sends
 * bios addressed to that device to the front, a device-mapper device that leads
 * to this target; "detach" ends it. "prove" fails unless a read of the device
 * comes by here: ENOLINK when it does not, and the redirect is lost from then
 * on. Bypassed counts the writes that reached the same sectors by another name,
 * the whole disk for example. A device is dead when its driver has removed it.
 *
 * A message waits until it is done. Killed, or when this target is suspended,
 * it ends before: an attach is then given up, and a detach goes on by itself,
 * as the status shows (EINPROGRESS).
 */
#include <linux/module.h>
#include <linux/slab.h>

#include "interpose.h"

#define DM_MSG_PREFIX "interpose"

struct interpose {
	struct redirect *redirect;
	struct dm_dev dm_dev;		/* for iterate_devices */
	struct mutex lock;		/* serialises messages */
};

static int parse_dev(const char *arg, dev_t *dev)
{
	unsigned int major, minor;
	char dummy;

	if (sscanf(arg, "%u:%u%c", &major, &minor, &dummy) != 2)
		return lookup_bdev(arg, dev);
	*dev = MKDEV(major, minor);
	if (MAJOR(*dev) != major || MINOR(*dev) != minor)
		return -EOVERFLOW;
	return 0;
}

static int check(struct dm_target *ti, struct block_device *bdev)
{
	const char *why = check_device(bdev);

	if (why) {
		ti->error = (char *)why;
		return -EOPNOTSUPP;
	}
	if (ti->begin || ti->len > bdev_nr_sectors(bdev)) {
		ti->error = "Target does not begin at 0 or is larger than the device";
		return -EINVAL;
	}
	if (bdev_read_only(bdev) && dm_table_get_mode(ti->table) & OPEN_WRITE) {
		ti->error = "Device is read-only";
		return -EROFS;
	}
	return 0;
}

static int interpose_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct interpose *ip;
	dev_t dev;
	int r;

	if (argc != 1) {
		ti->error = "Invalid argument count";
		return -EINVAL;
	}
	r = parse_dev(argv[0], &dev);
	if (r) {
		ti->error = "No such device";
		return r;
	}
	ip = kzalloc(sizeof(*ip), GFP_KERNEL);
	if (!ip) {
		ti->error = "Cannot allocate context";
		return -ENOMEM;
	}
	ip->redirect = redirect_create(ti->table, dev, ti->len);
	if (IS_ERR(ip->redirect)) {
		ti->error = "Cannot open device";
		r = PTR_ERR(ip->redirect);
		goto free;
	}
	ip->dm_dev.bdev = ip->redirect->plain.bdev;
	r = check(ti, ip->dm_dev.bdev);
	if (r)
		goto abandon;
	mutex_init(&ip->lock);
	ip->dm_dev.mode = dm_table_get_mode(ti->table);
	format_dev_t(ip->dm_dev.name, dev);
	ti->per_io_data_size = sizeof(struct mark);
	ti->num_flush_bios = 1;
	/* Whatever the cache of the device does later, no flush ends here. */
	ti->flush_supported = true;
	ti->num_discard_bios = 1;
	ti->num_secure_erase_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->private = ip;
	return 0;
abandon:
	redirect_abandon(ip->redirect);
free:
	kfree(ip);
	return r;
}

static void interpose_dtr(struct dm_target *ti)
{
	struct interpose *ip = ti->private;

	redirect_abandon(ip->redirect);
	mutex_destroy(&ip->lock);
	kfree(ip);
}

static int interpose_map(struct dm_target *ti, struct bio *bio)
{
	struct interpose *ip = ti->private;
	struct mark *mark = mark_of(bio);

	mark->plain = ip->dm_dev.bdev;
	mark->probe = probe_mapped(ip->redirect, bio);
	/* It was to fail on a suspended device; raid5 fails it when busy. */
	if (unlikely(mark->probe))
		bio->bi_opf &= ~REQ_RAHEAD;
	bio_set_flag(bio, BIO_INTERPOSED);
	bio_set_dev(bio, mark->plain);
	return DM_MAPIO_REMAPPED;
}

static int interpose_end_io(struct dm_target *ti, struct bio *bio,
			    blk_status_t *error)
{
	struct interpose *ip = ti->private;

	if (unlikely(*error)) {
		if (disk_dead(ip->redirect))
			redirect_tell_later(ip->redirect);
	} else if (unlikely(mark_of(bio)->probe)) {
		probe_read(ip->redirect);
	}
	return DM_ENDIO_DONE;
}

/* Messages that wait hold the live table, and a suspend would wait for them. */
static void interpose_presuspend(struct dm_target *ti)
{
	struct interpose *ip = ti->private;

	redirect_suspending(ip->redirect, true);
}

static void interpose_resume(struct dm_target *ti)
{
	struct interpose *ip = ti->private;

	redirect_suspending(ip->redirect, false);
}

static int attach(struct redirect *redirect, const char *arg)
{
	dev_t front;
	int r = parse_dev(arg, &front);

	return r ?: redirect_attach(redirect, front);
}

static int interpose_message(struct dm_target *ti, unsigned int argc,
			     char **argv, char *result, unsigned int maxlen)
{
	struct interpose *ip = ti->private;
	int r = -EINVAL;

	if (mutex_lock_killable(&ip->lock))
		return -EINTR;
	if (argc == 2 && !strcasecmp(argv[0], "attach"))
		r = attach(ip->redirect, argv[1]);
	else if (argc == 1 && !strcasecmp(argv[0], "detach"))
		r = redirect_detach(ip->redirect);
	else if (argc == 1 && !strcasecmp(argv[0], "prove"))
		r = redirect_prove(ip->redirect);
	mutex_unlock(&ip->lock);
	return r;
}

static void interpose_status(struct dm_target *ti, status_type_t type,
			     unsigned int flags, char *result,
			     unsigned int maxlen)
{
	struct interpose *ip = ti->private;
	struct redirect *redirect = ip->redirect;
	enum redirect_state state;
	char front[16] = "-";
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		/* Not under the lock: a message may be waiting for I/O. */
		state = READ_ONCE(redirect->state);
		if (state != REDIRECT_NONE)
			format_dev_t(front, READ_ONCE(redirect->front_dev));
		DMEMIT("%s %ld", front,
		       atomic_long_read(&redirect->bypassed));
		if (state == REDIRECT_ATTACHING)
			DMEMIT(" attaching");
		else if (state == REDIRECT_DETACHING)
			DMEMIT(" detaching");
		else if (disk_dead(redirect))
			DMEMIT(" dead");
		else if (state == REDIRECT_ATTACHED &&
			 READ_ONCE(redirect->lost))
			DMEMIT(" lost");
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s", ip->dm_dev.name);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",device_name=%s;", ip->dm_dev.name);
		break;
	}
}

static int interpose_iterate_devices(struct dm_target *ti,
				     iterate_devices_callout_fn fn, void *data)
{
	struct interpose *ip = ti->private;

	return fn(ti, &ip->dm_dev, 0, ti->len, data);
}

static struct target_type interpose_target = {
	.name = "interpose",
	.version = {1, 1, 0},
	.features = DM_TARGET_NOWAIT | DM_TARGET_SINGLETON,
	.module = THIS_MODULE,
	.ctr = interpose_ctr,
	.dtr = interpose_dtr,
	.map = interpose_map,
	.end_io = interpose_end_io,
	.presuspend = interpose_presuspend,
	.presuspend_undo = interpose_resume,
	.resume = interpose_resume,
	.message = interpose_message,
	.status = interpose_status,
	.iterate_devices = interpose_iterate_devices,
};

static int __init interpose_init(void)
{
	int r = redirect_init();

	if (r)
		return r;
	r = dm_register_target(&interpose_target);
	if (r)
		redirect_exit();
	return r;
}

static void __exit interpose_exit(void)
{
	dm_unregister_target(&interpose_target);
	redirect_exit();
}

module_init(interpose_init);
module_exit(interpose_exit);

MODULE_DESCRIPTION("device-mapper beneath a block device in use");
MODULE_AUTHOR("The dmsnap authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.1.0");
