/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels this module is built for.
 */
#ifndef INTERPOSE_COMPAT_H
#define INTERPOSE_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/ftrace.h>
#include <linux/version.h>

#ifndef CONFIG_DYNAMIC_FTRACE_WITH_ARGS
#error "dm-interpose needs a kernel with CONFIG_DYNAMIC_FTRACE_WITH_ARGS"
#endif

/* A block device held open without a claim, so that it may be mounted too. */
struct held_bdev {
	struct block_device *bdev;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	struct file *file;
#endif
};

/*
 * Only for reading: bios may be sent down all the same, and a kernel that
 * forbids writers beside a mounted filesystem (bdev_allow_write_mounted)
 * would refuse more.
 */
static inline int held_bdev_open(struct held_bdev *held, dev_t dev)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	held->file = bdev_file_open_by_dev(dev, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(held->file))
		return PTR_ERR(held->file);
	held->bdev = file_bdev(held->file);
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	held->bdev = blkdev_get_by_dev(dev, FMODE_READ, NULL);
	if (IS_ERR(held->bdev))
		return PTR_ERR(held->bdev);
#else
#error "dm-interpose is built for Linux 6.1 to 6.4 and from 6.9 on"
#endif
	return 0;
}

static inline void held_bdev_close(struct held_bdev *held)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	bdev_fput(held->file);
#else
	blkdev_put(held->bdev, FMODE_READ);
#endif
}

/* Wait until no request is between the queue and its device. */
static inline void drain_queue(struct request_queue *q)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	unsigned int memflags = blk_mq_freeze_queue(q);

	blk_mq_unfreeze_queue(q, memflags);
#else
	blk_mq_freeze_queue(q);
	blk_mq_unfreeze_queue(q);
#endif
}

static inline void jump_to(struct ftrace_regs *fregs, void *function)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)function);
#else
	ftrace_instruction_pointer_set(fregs, (unsigned long)function);
#endif
}

#endif
