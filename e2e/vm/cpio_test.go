package vm

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestCpioLayout(t *testing.T) {
	var buffer bytes.Buffer
	archive := &cpioWriter{w: &buffer}
	archive.dir("d")
	archive.file("d/f", 0o644, []byte("hello"))
	if err := archive.close(); err != nil {
		t.Fatal(err)
	}
	data := buffer.Bytes()
	if len(data)%4 != 0 {
		t.Errorf("length %d is not padded", len(data))
	}
	for offset, want := range map[int]string{
		0: "070701", 110: "d\x00", 112: "070701", 112 + 54: "00000005", 112 + 110: "d/f\x00", 112 + 116: "hello\x00\x00\x00",
	} {
		if got := string(data[offset : offset+len(want)]); got != want {
			t.Errorf("at %d: %q, want %q", offset, got, want)
		}
	}
	if !bytes.Contains(data, []byte(cpioTrailer)) {
		t.Error("no trailer")
	}
}

// TestCpioUnpacks lets the system's own cpio read the archive, where there is one.
func TestCpioUnpacks(t *testing.T) {
	program, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("no cpio program")
	}
	var buffer bytes.Buffer
	archive := &cpioWriter{w: &buffer}
	archive.dir("sub")
	want := bytes.Repeat([]byte("x"), 4099)
	archive.file("sub/file", 0o755, want)
	if err := archive.close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-id", "--quiet")
	cmd.Dir, cmd.Stdin = t.TempDir(), &buffer
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, text)
	}
	got, err := os.ReadFile(filepath.Join(cmd.Dir, "sub/file"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("unpacked %d bytes, %v", len(got), err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestCpioReportsWriteError(t *testing.T) {
	archive := &cpioWriter{w: fullDisk{}}
	archive.file("f", 0o644, nil)
	if err := archive.close(); err == nil || err.Error() != "full" {
		t.Errorf("got %v", err)
	}
}
