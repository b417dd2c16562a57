/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INTERPOSE_H
#define INTERPOSE_H

#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/percpu-refcount.h>

#include "compat.h"

/*
 * Marks the bios that the base sends down: the redirect leaves them alone. The
 * highest bit of bi_flags is free in all kernels this module is built for.
 * bio_set_dev() keeps it, and splitting a bio does too.
 */
#define BIO_INTERPOSED 15
static_assert(BIO_FLAG_LAST <= BIO_INTERPOSED);
static_assert(sizeof_field(struct bio, bi_flags) == 2);

/* A plain device whose bios go to a front. */
struct redirect {
	struct hlist_node node;
	struct block_device *plain;
	sector_t size;			/* of the front; the plain device may grow */
	struct held_bdev front;
	dev_t front_dev;
	struct bio_set passages;	/* of clones for the front */
	struct percpu_ref passing;	/* bios that the front has */
	struct completion idle;		/* it has none any more */
	atomic_long_t bypassed;		/* writes that came by another name */
};

int redirect_setup(struct redirect *r, struct block_device *plain,
		   sector_t size);
void redirect_teardown(struct redirect *r);
int redirect_attach(struct redirect *r, dev_t front);
void redirect_detach(struct redirect *r);
int redirect_read(struct block_device *bdev, struct page *page, blk_opf_t flags);

int redirect_init(void);
void redirect_exit(void);

#endif
