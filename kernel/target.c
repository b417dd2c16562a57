// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-interpose: device-mapper beneath a plain block device that stays in use.
 *
 * Table:    0 <sectors> interpose <device>
 * Status:   <front, major:minor, or -> <bypassed>
 * Messages: attach <front>, detach
 *
 * The target maps one to one onto a device without claiming it. "attach" sends
 * bios addressed to that device to the front, a device-mapper device that leads
 * to this target; "detach" ends it. Bypassed counts the writes that reached the
 * same sectors by another name, the whole disk for example.
 *
 * Both messages wait for I/O that passes this target: do not suspend it
 * meanwhile.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/blk-integrity.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "interpose.h"

#define DM_MSG_PREFIX "interpose"

struct interpose {
	struct held_bdev plain;
	struct dm_dev dm_dev;		/* for iterate_devices */
	struct mutex lock;		/* serialises messages */
	bool attached;			/* under lock */
	struct redirect redirect;
	struct page *probe;		/* a read that must come by */
	bool probed;
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

/* Why a device cannot be interposed, or NULL. */
static const char *refusal(struct block_device *bdev)
{
	struct request_queue *q = bdev_get_queue(bdev);
	struct mapped_device *md = dm_get_md(bdev->bd_dev);

	if (md) {
		dm_put(md);
		return "Device is a device-mapper device";
	}
	if (bdev_is_zoned(bdev))
		return "Zoned devices are not supported";
	if (blk_queue_dax(q))
		return "DAX devices are not supported";
	if (blk_get_integrity(bdev->bd_disk))
		return "Devices with integrity data are not supported";
#ifdef CONFIG_BLK_INLINE_ENCRYPTION
	if (q->crypto_profile)
		return "Devices with inline encryption are not supported";
#endif
	return NULL;
}

static int check_device(struct dm_target *ti, struct block_device *bdev)
{
	const char *why = refusal(bdev);

	if (why) {
		ti->error = (char *)why;
		return -EOPNOTSUPP;
	}
	if (ti->begin || ti->len > bdev_nr_sectors(bdev)) {
		ti->error = "Target does not begin at 0 or is larger than the device";
		return -EINVAL;
	}
	if (bdev_read_only(bdev) && dm_table_get_mode(ti->table) & FMODE_WRITE) {
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
	r = held_bdev_open(&ip->plain, dev);
	if (r) {
		ti->error = "Cannot open device";
		goto free;
	}
	r = check_device(ti, ip->plain.bdev);
	if (r)
		goto close;
	r = redirect_setup(&ip->redirect, ip->plain.bdev, ti->len);
	if (r) {
		ti->error = "Cannot allocate bios";
		goto close;
	}
	mutex_init(&ip->lock);
	ip->dm_dev.bdev = ip->plain.bdev;
	ip->dm_dev.mode = dm_table_get_mode(ti->table);
	format_dev_t(ip->dm_dev.name, dev);
	ti->num_flush_bios = 1;
	/* Whatever the cache of the device does later, no flush ends here. */
	ti->flush_supported = true;
	ti->num_discard_bios = 1;
	ti->num_secure_erase_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->private = ip;
	return 0;
close:
	held_bdev_close(&ip->plain);
free:
	kfree(ip);
	return r;
}

/* A table may be swapped away while attached; then bios must go direct. */
static void interpose_dtr(struct dm_target *ti)
{
	struct interpose *ip = ti->private;

	if (ip->attached)
		redirect_detach(&ip->redirect);
	redirect_teardown(&ip->redirect);
	held_bdev_close(&ip->plain);
	mutex_destroy(&ip->lock);
	kfree(ip);
}

static int interpose_map(struct dm_target *ti, struct bio *bio)
{
	struct interpose *ip = ti->private;
	struct page *probe = READ_ONCE(ip->probe);

	if (unlikely(probe) && bio_has_data(bio) && bio_page(bio) == probe)
		WRITE_ONCE(ip->probed, true);
	bio_set_flag(bio, BIO_INTERPOSED);
	bio_set_dev(bio, ip->plain.bdev);
	return DM_MAPIO_REMAPPED;
}

/*
 * A front that leads elsewhere would write the device's data there. So read
 * through it, and see whether the read comes by here. A suspended front fails
 * readahead.
 */
static int check_front(struct interpose *ip, dev_t dev)
{
	struct held_bdev front;
	unsigned int order;
	struct page *page;
	int r = held_bdev_open(&front, dev);

	if (r)
		return r;
	order = get_order(bdev_logical_block_size(front.bdev));
	page = alloc_pages(GFP_NOIO, order);
	if (!page) {
		r = -ENOMEM;
		goto close;
	}
	ip->probed = false;
	WRITE_ONCE(ip->probe, page);
	r = redirect_read(front.bdev, page, REQ_RAHEAD);
	WRITE_ONCE(ip->probe, NULL);
	if (!r && !READ_ONCE(ip->probed))
		r = -EXDEV;
	__free_pages(page, order);
close:
	held_bdev_close(&front);
	return r;
}

static int attach(struct interpose *ip, const char *arg)
{
	dev_t front;
	int r;

	if (ip->attached)
		return -EBUSY;
	r = parse_dev(arg, &front);
	if (!r)
		r = check_front(ip, front);
	if (!r)
		r = redirect_attach(&ip->redirect, front);
	ip->attached = !r;
	return r;
}

static int detach(struct interpose *ip)
{
	if (!ip->attached)
		return -ENOTCONN;
	redirect_detach(&ip->redirect);
	ip->attached = false;
	return 0;
}

static int interpose_message(struct dm_target *ti, unsigned int argc,
			     char **argv, char *result, unsigned int maxlen)
{
	struct interpose *ip = ti->private;
	int r = -EINVAL;

	if (mutex_lock_interruptible(&ip->lock))
		return -EINTR;
	if (argc == 2 && !strcasecmp(argv[0], "attach"))
		r = attach(ip, argv[1]);
	else if (argc == 1 && !strcasecmp(argv[0], "detach"))
		r = detach(ip);
	mutex_unlock(&ip->lock);
	return r;
}

static void interpose_status(struct dm_target *ti, status_type_t type,
			     unsigned int flags, char *result,
			     unsigned int maxlen)
{
	struct interpose *ip = ti->private;
	char front[16] = "-";
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		/* Not under the lock: a message may be waiting for I/O. */
		if (READ_ONCE(ip->attached))
			format_dev_t(front, READ_ONCE(ip->redirect.front_dev));
		DMEMIT("%s %ld", front,
		       atomic_long_read(&ip->redirect.bypassed));
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
	.version = {1, 0, 0},
	.features = DM_TARGET_NOWAIT | DM_TARGET_SINGLETON,
	.module = THIS_MODULE,
	.ctr = interpose_ctr,
	.dtr = interpose_dtr,
	.map = interpose_map,
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
MODULE_VERSION("1.0.0");
