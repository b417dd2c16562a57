package ioctl

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFilesOfTheHost uses the real system calls, unprivileged, in a directory of
// its own.
func TestFilesOfTheHost(t *testing.T) {
	k, dir := Host(), t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	wantErr(t, k.MkdirAll(deep, 0o700))
	wantErr(t, k.MkdirAll(deep, 0o700))
	path := filepath.Join(deep, "file")
	text := bytes.Repeat([]byte("0123456789"), 1000)
	wantErr(t, k.WriteFile(path, text, 0o640))
	wantErr(t, k.SyncDir(deep))
	got, err := k.ReadFile(path)
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	wantErr(t, k.MkdirAll(path, 0o700), unix.ENOTDIR)

	wantErr(t, k.Chmod(path, 0o600))
	wantErr(t, k.Symlink("file", deep+"/link"))
	if target, err := k.Readlink(deep + "/link"); target != "file" || err != nil {
		t.Errorf("link to %q, %v", target, err)
	}
	long := strings.Repeat("./", 1000)
	wantErr(t, k.Symlink(long, deep+"/long"))
	if target, err := k.Readlink(deep + "/long"); target != long || err != nil {
		t.Errorf("link of %d bytes, %v", len(target), err)
	}
	st, err := k.Stat(deep + "/link")
	if err != nil || !st.Is(unix.S_IFREG) || st.Mode&0o777 != 0o600 || st.Size != 10000 || int(st.UID) != k.Geteuid() {
		t.Errorf("stat %+v, %v", st, err)
	}
	if st, err = k.Lstat(deep + "/link"); err != nil || !st.Is(unix.S_IFLNK) {
		t.Errorf("lstat %+v, %v", st, err)
	}
	wantErr(t, k.Rename(path, deep+"/new"))
	names, err := k.ReadDir(deep)
	if err != nil || !slices.Equal(names, []string{"link", "long", "new"}) {
		t.Errorf("names %q, %v", names, err)
	}
	_, err = k.Stat(path)
	wantErr(t, err, fs.ErrNotExist, unix.ENOENT)
	_, err = k.ReadFile(path)
	wantErr(t, err, fs.ErrNotExist)
	_, err = k.ReadDir(path)
	wantErr(t, err, fs.ErrNotExist)
	for _, name := range names {
		wantErr(t, k.Unlink(deep+"/"+name))
	}
	wantErr(t, k.Rmdir(deep))
	if st, err := k.Statfs(dir); err != nil || st.Type <= 0 || st.BlockSize <= 0 {
		t.Errorf("statfs %+v, %v", st, err)
	}
}

func TestDescriptorsOfTheHost(t *testing.T) {
	k, path := Host(), filepath.Join(t.TempDir(), "file")
	f, err := k.Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
	wantErr(t, err)
	if f.Path() != path || f.Fd() < 0 {
		t.Error(f.Path(), f.Fd())
	}
	const far = 5 << 30 // beyond 32 bits
	_, err = f.WriteAt([]byte("end"), far)
	wantErr(t, err)
	st, err := f.Stat()
	if err != nil || st.Size != far+3 {
		t.Errorf("size %d, %v", st.Size, err)
	}
	b := make([]byte, 5)
	if n, err := f.ReadAt(b, far-2); n != 5 || err != nil || string(b) != "\x00\x00end" {
		t.Errorf("%d bytes %q, %v", n, b, err)
	}
	if n, err := f.ReadAt(b, far); n != 3 || err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
	wantErr(t, f.Truncate(4))
	wantErr(t, f.Sync())
	wantErr(t, f.SyncFS())
	wantErr(t, f.Lock(unix.LOCK_EX))
	other, err := k.Open(path, unix.O_RDONLY, 0)
	wantErr(t, err)
	wantErr(t, other.Lock(unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	wantErr(t, f.Close())
	wantErr(t, f.Close())
	wantErr(t, f.Sync(), unix.EBADF)
	wantErr(t, other.Lock(unix.LOCK_EX|unix.LOCK_NB))
	_, err = other.BlockSize()
	wantErr(t, err, unix.ENOTTY)
	wantErr(t, other.Close())
}

func TestInterruptedAndShortFiles(t *testing.T) {
	n, src := 0, "0123456789"
	interrupt := func(k int) (int, error) {
		if n++; n%2 == 1 {
			return -1, unix.EINTR
		}
		return min(3, k), nil
	}
	var out []byte
	s := &stub{
		read: func(_ int, b []byte) (int, error) {
			k, err := interrupt(len(src))
			if err == nil {
				copy(b, src[:k])
				src = src[k:]
			}
			return k, err
		},
		write: func(_ int, b []byte) (int, error) {
			k, err := interrupt(len(b))
			if err == nil {
				out = append(out, b[:k]...)
			}
			return k, err
		},
		pread: func(_ int, b []byte, off int64) (int, error) { return interrupt(min(len(b), int(10-off))) },
		pwrite: func(_ int, b []byte, off int64) (int, error) {
			if off != 100+int64(len(out)) {
				t.Errorf("write at %d", off)
			}
			k, err := interrupt(len(b))
			if err == nil {
				out = append(out, b[:k]...)
			}
			return k, err
		},
	}
	f := file(s)
	if b, err := io.ReadAll(f); string(b) != "0123456789" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	if n, err := f.Write([]byte("abcdefgh")); n != 8 || err != nil || string(out) != "abcdefgh" {
		t.Errorf("wrote %d: %q, %v", n, out, err)
	}
	out = nil
	if n, err := f.WriteAt([]byte("abcdefgh"), 100); n != 8 || err != nil || string(out) != "abcdefgh" {
		t.Errorf("wrote %d: %q, %v", n, out, err)
	}
	if n, err := f.ReadAt(make([]byte, 20), 2); n != 8 || err != io.EOF {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestFailingFiles(t *testing.T) {
	fail := unix.EIO
	s := &stub{
		open:   func(string, int, uint32) (int, error) { return 9, nil },
		read:   func(int, []byte) (int, error) { return -1, fail },
		write:  func(int, []byte) (int, error) { return 0, nil },
		pwrite: func(int, []byte, int64) (int, error) { return -1, fail },
		pread:  func(int, []byte, int64) (int, error) { return -1, fail },
		fsync:  func(int) error { return fail },
	}
	k := New(s)
	_, err := k.ReadFile("x")
	wantErr(t, err, unix.EIO)
	wantErr(t, k.SyncDir("x"), unix.EIO)
	wantErr(t, k.WriteFile("x", nil, 0), unix.EIO)
	wantErr(t, k.WriteFile("x", []byte("y"), 0), io.ErrShortWrite)
	_, err = file(s).WriteAt([]byte("y"), 0)
	wantErr(t, err, unix.EIO)
	_, err = file(s).ReadAt(make([]byte, 1), 0)
	wantErr(t, err, unix.EIO)
	if !slices.Equal(s.closed, []int{9, 9, 9, 9}) {
		t.Errorf("closed %v", s.closed)
	}
}

func TestAlive(t *testing.T) {
	var answer error
	k := New(&stub{kill: func(_, signal int) error {
		if signal != 0 {
			t.Errorf("signal %d", signal)
		}
		return answer
	}})
	for _, c := range []struct {
		pid  int
		err  error
		want bool
	}{{1, nil, true}, {1, unix.EPERM, true}, {1, unix.ESRCH, false}, {0, nil, false}, {-1, nil, false}} {
		answer = c.err
		if k.Alive(c.pid) != c.want {
			t.Errorf("%+v", c)
		}
	}
	if release, err := Host().Release(); err != nil || release == "" {
		t.Error(release, err)
	}
}

func TestErrorText(t *testing.T) {
	var err error = &Error{Op: "suspend", Name: "vg-home", Err: unix.EBUSY}
	if err.Error() != "suspend vg-home: device or resource busy" {
		t.Error(err)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotFound) || !errors.Is(err, unix.EBUSY) {
		t.Error("identity")
	}
	err = &Error{Op: "uname", Err: unix.EFAULT}
	if err.Error() != "uname: bad address" {
		t.Error(err)
	}
}
