/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels this module is built for. Kbuild looks for
 * the features in their headers: distributions bring them to older versions.
 */
#ifndef INTERPOSE_COMPAT_H
#define INTERPOSE_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/ftrace.h>

#ifndef CONFIG_DYNAMIC_FTRACE_WITH_ARGS
#error "dm-interpose needs a kernel with CONFIG_DYNAMIC_FTRACE_WITH_ARGS"
#endif

#ifdef HAVE_BLK_MODE_T
#define OPEN_READ BLK_OPEN_READ
#define OPEN_WRITE BLK_OPEN_WRITE
#else
#define OPEN_READ FMODE_READ
#define OPEN_WRITE FMODE_WRITE
#endif

/*
 * A block device held open without a claim, so that it may be mounted too. Only
 * for reading: bios may be sent down all the same, and a kernel that forbids
 * writers beside a mounted filesystem (bdev_allow_write_mounted) would refuse
 * more.
 */
struct held_bdev {
	struct block_device *bdev;
#if defined(HAVE_BDEV_FILE)
	struct file *file;
#elif defined(HAVE_BDEV_HANDLE)
	struct bdev_handle *handle;
#endif
};

static inline int held_bdev_open(struct held_bdev *held, dev_t dev)
{
#if defined(HAVE_BDEV_FILE)
	held->file = bdev_file_open_by_dev(dev, OPEN_READ, NULL, NULL);
	if (IS_ERR(held->file))
		return PTR_ERR(held->file);
	held->bdev = file_bdev(held->file);
#elif defined(HAVE_BDEV_HANDLE)
	held->handle = bdev_open_by_dev(dev, OPEN_READ, NULL, NULL);
	if (IS_ERR(held->handle))
		return PTR_ERR(held->handle);
	held->bdev = held->handle->bdev;
#else
#ifdef HAVE_BLK_MODE_T
	held->bdev = blkdev_get_by_dev(dev, OPEN_READ, NULL, NULL);
#else
	held->bdev = blkdev_get_by_dev(dev, OPEN_READ, NULL);
#endif
	if (IS_ERR(held->bdev))
		return PTR_ERR(held->bdev);
#endif
	return 0;
}

static inline void held_bdev_close(struct held_bdev *held)
{
#if defined(HAVE_BDEV_FILE)
	bdev_fput(held->file);
#elif defined(HAVE_BDEV_HANDLE)
	bdev_release(held->handle);
#elif defined(HAVE_BLK_MODE_T)
	blkdev_put(held->bdev, NULL);
#else
	blkdev_put(held->bdev, OPEN_READ);
#endif
}

/*
 * Wait until no request is between the queue and its device, or until stop.
 * Nothing here may allocate memory: reclaim might need the frozen queue.
 */
static inline void drain_queue(struct request_queue *q, const bool *stop)
{
#ifdef HAVE_FREEZE_NON_OWNER
	blk_freeze_queue_start_non_owner(q);
#else
	blk_freeze_queue_start(q);
#endif
	while (!blk_mq_freeze_queue_wait_timeout(q, HZ / 10))
		if (READ_ONCE(*stop))
			break;
#ifdef HAVE_FREEZE_NON_OWNER
	blk_mq_unfreeze_queue_non_owner(q);
#else
	blk_mq_unfreeze_queue(q);
#endif
}

/* The largest write that the device promises not to tear, in bytes. */
static inline unsigned int atomic_write_unit(struct block_device *bdev)
{
#ifdef HAVE_ATOMIC_WRITES
	if (bdev_can_atomic_write(bdev))
		return queue_atomic_write_unit_max_bytes(bdev_get_queue(bdev));
#endif
	return 0;
}

/*
 * Can anybody send it one? At first only those who open the device itself could,
 * and not the files of a filesystem, which are who names operations as a holder.
 */
static inline bool takes_atomic_writes(struct block_device *bdev)
{
#if defined(HAVE_ATOMIC_FILES)
	return true;
#elif defined(HAVE_ATOMIC_WRITES)
	return !READ_ONCE(bdev->bd_holder_ops);
#else
	return false;
#endif
}

static inline void *first_argument(struct ftrace_regs *fregs)
{
#ifdef HAVE_FTRACE_ARGUMENT
	return (void *)ftrace_regs_get_argument(fregs, 0);
#else
	return (void *)regs_get_kernel_argument(&fregs->regs, 0);
#endif
}

static inline void jump_to(struct ftrace_regs *fregs, void *function)
{
#ifdef HAVE_FTRACE_ARGUMENT
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)function);
#else
	ftrace_instruction_pointer_set(fregs, (unsigned long)function);
#endif
}

#endif
