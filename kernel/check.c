// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be interposed, what can be its front, and the proof that bios go
 * where they are to go.
 */
#include <linux/blk-integrity.h>
#include <linux/slab.h>

#include "interpose.h"

/* Why a device cannot be interposed, or NULL. */
const char *check_device(struct block_device *bdev)
{
	struct mapped_device *md = dm_get_md(bdev->bd_dev);

	if (md) {
		dm_put(md);
		return "Device is a device-mapper device";
	}
	if (bdev_is_zoned(bdev))
		return "Zoned devices are not supported";
	if (blk_queue_dax(bdev_get_queue(bdev)))
		return "DAX devices are not supported";
	if (blk_get_integrity(bdev->bd_disk))
		return "Devices with integrity data are not supported";
#ifdef CONFIG_BLK_INLINE_ENCRYPTION
	if (bdev_get_queue(bdev)->crypto_profile)
		return "Devices with inline encryption are not supported";
#endif
	return NULL;
}

/* Nothing the plain device promised may be lost on the way. */
int check_front(const struct redirect *r)
{
	struct block_device *front = r->front.bdev, *plain = r->plain.bdev;

	if (check_device(plain))
		return -EOPNOTSUPP;
	if (bdev_nr_sectors(front) != r->size)
		return -EINVAL;
	if (bdev_logical_block_size(front) != bdev_logical_block_size(plain))
		return -EINVAL;
	if (bdev_write_cache(plain) && !bdev_write_cache(front))
		return -EINVAL;
	if (bdev_fua(plain) && !bdev_fua(front))
		return -EINVAL;
	return 0;
}

/*
 * Writes that the device promises not to tear, and the front does not: they fail
 * there, and a program that relies on them may have asked long ago. Those of one
 * block need no promise, and those that nobody can send are not missed.
 */
bool loses_atomic_writes(const struct redirect *r)
{
	struct block_device *front = r->front.bdev, *plain = r->plain.bdev;

	return atomic_write_unit(plain) > max(atomic_write_unit(front),
					      bdev_logical_block_size(plain)) &&
	       takes_atomic_writes(plain);
}

/* A bio with REQ_RAHEAD fails on a suspended device, others would wait. */
static int read_block(struct block_device *bdev, const struct probe *p)
{
	struct bio_vec vec;
	struct bio bio;
	int err;

	bio_init(&bio, bdev, &vec, 1, REQ_OP_READ | REQ_RAHEAD);
	bio.bi_iter.bi_sector = p->sector;
	__bio_add_page(&bio, p->page, p->size, 0);
	err = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return err;
}

static int probe_block(struct redirect *r, struct block_device *bdev,
		       struct page *page, sector_t sector)
{
	struct probe *p = &r->probe;
	int err;

	p->passed = false;
	p->sector = sector;
	WRITE_ONCE(p->page, page);
	err = read_block(bdev, p);
	WRITE_ONCE(p->page, NULL);
	if (err)
		return err;
	if (!p->passed || memcmp(page_address(page), p->copy, p->size))
		return -EXDEV;
	return 0;
}

/*
 * Reads the first and the last block of a device. Both must come by the base,
 * at the same place, and arrive as the base read them. It is not assumed that
 * bios to the front get there, nor that the hook sees those to the plain
 * device: a compiler may have inlined what is hooked.
 */
int probe_through(struct redirect *r, struct block_device *bdev)
{
	unsigned int size = bdev_logical_block_size(r->plain.bdev);
	struct page *page = alloc_pages(GFP_NOIO, get_order(size));
	int err = -ENOMEM;

	r->probe.size = size;
	r->probe.copy = kmalloc(size, GFP_NOIO);
	if (page && r->probe.copy)
		err = probe_block(r, bdev, page, 0);
	if (!err)
		err = probe_block(r, bdev, page,
				  r->size - (size >> SECTOR_SHIFT));
	kfree(r->probe.copy);
	if (page)
		__free_pages(page, get_order(size));
	return err;
}

/* A bio comes by the base: is it the probe, and where it should be? */
bool probe_mapped(struct redirect *r, struct bio *bio)
{
	struct page *page = READ_ONCE(r->probe.page);

	if (likely(!page) || !bio_has_data(bio) || bio_page(bio) != page)
		return false;
	return bio_op(bio) == REQ_OP_READ &&
	       bio->bi_iter.bi_sector == r->probe.sector &&
	       bio->bi_iter.bi_size == r->probe.size;
}

/* The base has read it; the prober waits for this bio. */
void probe_read(struct redirect *r)
{
	memcpy(r->probe.copy, page_address(r->probe.page), r->probe.size);
	r->probe.passed = true;
}
