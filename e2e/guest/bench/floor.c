//go:build ignore

// floor makes nothing but the calls that hold writers: what the kernel itself demands of a cut or of the way back. All
// tables are loaded beforehand. It prints the microseconds from the first call to the last.
//
//	floor cut|swap EXPEDITED VOLUMES FRONT... IMAGE... DIR...
//
// cut suspends the fronts with their filesystems frozen, resumes the images, resumes the fronts. swap suspends without
// a freeze and resumes the fronts only.
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

// Flags for udev, as dmsnap sets them: genuine event; for images also no rules of subsystems, disks and others.
enum { FRONT = 0x40u << 16, IMAGE = 0x4eu << 16 };

static int control;

static int call(const char *name, unsigned flags, unsigned event)
{
	struct dm_ioctl d = {
		.version = { 4, 0, 0 }, .data_size = sizeof d, .data_start = sizeof d, .flags = flags, .event_nr = event,
	};
	strncpy(d.name, name, sizeof d.name - 1);
	if (ioctl(control, DM_DEV_SUSPEND, &d) == 0)
		return 0;
	perror(name);
	return -1;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	int n = argc > 3 ? atoi(argv[3]) : 0;
	int cut = n > 0 && strcmp(argv[1], "cut") == 0;
	if (n <= 0 || argc != 4 + (cut ? 3 : 1) * n)
		return 2;
	char **fronts = argv + 4, **images = fronts + n, **dirs = images + n;
	unsigned lockfs = cut ? 0 : DM_SKIP_LOCKFS_FLAG;
	int expedite = open("/sys/kernel/rcu_expedited", O_RDWR);
	char before[16];
	ssize_t length = expedite < 0 ? -1 : read(expedite, before, sizeof before);
	if (length < 0)
		die("rcu_expedited");
	if ((control = open("/dev/mapper/control", O_RDWR)) < 0)
		die("control");
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		die("mlockall");
	for (int i = 0; cut && i < n; i++) {
		int fd = open(dirs[i], O_RDONLY | O_DIRECTORY);
		if (fd < 0 || syncfs(fd) < 0)
			die(dirs[i]);
		close(fd);
	}
	struct timespec start, end;
	if (argv[2][0] == '1' && pwrite(expedite, "1\n", 2, 0) < 0)
		die("rcu_expedited");
	clock_gettime(CLOCK_MONOTONIC, &start);
	int failed = 0;
	for (int i = 0; !failed && i < n; i++)
		failed = call(fronts[i], DM_SUSPEND_FLAG | lockfs, 0);
	for (int i = 0; !failed && cut && i < n; i++)
		failed = call(images[i], DM_SKIP_LOCKFS_FLAG, IMAGE);
	for (int i = n; i-- > 0;) // whatever happened: nothing stays suspended
		failed |= call(fronts[i], DM_SKIP_LOCKFS_FLAG, FRONT);
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (pwrite(expedite, before, length, 0) < 0)
		die("rcu_expedited");
	printf("%ld\n", (end.tv_sec - start.tv_sec) * 1000000L + (end.tv_nsec - start.tv_nsec) / 1000);
	return failed != 0;
}
