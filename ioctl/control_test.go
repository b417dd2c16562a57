package ioctl

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// devices is a stub /dev, /sys and /proc of files with contents.
type devices struct {
	log     []string
	files   map[string]string
	openErr error // of a made control node
	offsets map[int]string
}

func (d *devices) stub() *stub {
	d.offsets = map[int]string{}
	return &stub{
		open: func(path string, _ int, _ uint32) (int, error) {
			d.log = append(d.log, "open "+path)
			text, ok := d.files[path]
			if !ok {
				return -1, unix.ENOENT
			}
			if path == controlPath && d.openErr != nil {
				return -1, d.openErr
			}
			fd := 10 + len(d.log)
			d.offsets[fd] = text
			return fd, nil
		},
		read: func(fd int, b []byte) (int, error) {
			n := copy(b, d.offsets[fd])
			d.offsets[fd] = d.offsets[fd][n:]
			return n, nil
		},
		mkdir: func(path string, perm uint32) error {
			d.log = append(d.log, fmt.Sprintf("mkdir %s %o", path, perm))
			return unix.EEXIST
		},
		mknod: func(path string, mode uint32, dev uint64) error {
			d.log = append(d.log, fmt.Sprintf("mknod %s %o %v", path, mode, DevNoOf(dev)))
			d.files[path] = ""
			return nil
		},
		unlink: func(path string) error {
			d.log = append(d.log, "unlink "+path)
			delete(d.files, path)
			return nil
		},
	}
}

const misc = "235 autofs\n 229 fuse\nx device-mapper y\n 61 device-mapper\n"

func TestOpenControl(t *testing.T) {
	const sys, proc = "/sys/class/misc/device-mapper/dev", "/proc/misc"
	for _, c := range []struct {
		name  string
		files map[string]string
		made  string // the number of the node, empty if none is made
	}{
		{"there", map[string]string{controlPath: ""}, ""},
		{"sysfs", map[string]string{sys: "10:60\n", proc: misc}, "10:60"},
		{"procfs", map[string]string{proc: misc}, "10:61"},
		{"sysfs broken", map[string]string{sys: "nonsense", proc: misc}, "10:61"},
		{"procfs without", map[string]string{proc: "229 fuse\n"}, "10:236"},
		{"neither", map[string]string{}, "10:236"},
	} {
		d := &devices{files: c.files}
		s := d.stub()
		ctl, err := New(s).OpenControl()
		wantErr(t, err)
		made := slices.Contains(d.log, "mknod "+controlPath+" 20600 "+c.made)
		if made != (c.made != "") {
			t.Errorf("%s: %q", c.name, d.log)
		}
		files := len(s.closed)
		wantErr(t, ctl.Close())
		wantErr(t, ctl.Close())
		if len(s.closed) != files+1 {
			t.Errorf("%s: closed %v", c.name, s.closed)
		}
	}
}

func TestOpenControlFails(t *testing.T) {
	d := &devices{files: map[string]string{}, openErr: unix.ENODEV}
	_, err := New(d.stub()).OpenControl()
	wantErr(t, err, unix.ENODEV)
	if _, left := d.files[controlPath]; left {
		t.Error("the node is left behind")
	}
	d = &devices{files: map[string]string{controlPath: ""}, openErr: unix.EACCES}
	_, err = New(d.stub()).OpenControl()
	wantErr(t, err, unix.EACCES)
	if !slices.Equal(d.log, []string{"open " + controlPath}) {
		t.Errorf("%q", d.log)
	}
}

func TestPoll(t *testing.T) {
	var timeouts []time.Duration
	errs := []error{unix.EINTR, unix.EINTR, nil, unix.EBADF, unix.EINTR, nil}
	c := &Control{fd: 7, k: New(&stub{poll: func(_ int, d time.Duration) (bool, error) {
		timeouts = append(timeouts, d)
		err := errs[0]
		errs = errs[1:]
		return err == nil, err
	}})}
	ready, err := c.Poll(time.Hour)
	if !ready || err != nil || len(timeouts) != 3 || timeouts[2] > time.Hour || timeouts[2] < 59*time.Minute {
		t.Errorf("%v, %v, %v", ready, err, timeouts)
	}
	_, err = c.Poll(0)
	wantErr(t, err, unix.EBADF)
	if _, err = c.Poll(-1); err != nil || timeouts[len(timeouts)-1] >= 0 {
		t.Errorf("%v, %v", err, timeouts)
	}
}
