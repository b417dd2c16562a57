package vm

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestFindKernel(t *testing.T) {
	if k, err := FindKernel("6.12"); err != nil || k.Suite != "bookworm-backports" {
		t.Errorf("got %v, %v", k, err)
	}
	if _, err := FindKernel("2.6"); err == nil || !strings.Contains(err.Error(), "6.1, 6.12, sid, ") {
		t.Errorf("got %v", err)
	}
}

func TestArch(t *testing.T) {
	for name, want := range map[string]string{"6.1": "amd64", "6.1-rt": "amd64", "6.12-arm64": "arm64"} {
		if k, err := FindKernel(name); err != nil || k.Arch() != want || k.Foreign() != (want != runtime.GOARCH) {
			t.Errorf("%s is for %s, %v", name, k.Arch(), err)
		}
	}
}

func TestMatchLines(t *testing.T) {
	const text = `linux-image-amd64
  Depends: linux-base-amd64
  Depends: linux-image-7.2.13+deb14-amd64
linux-base-amd64
linux-image-7.2.13+deb14-amd64
  Depends: linux-modules-7.2.13+deb14-amd64
 |Depends: initramfs-tools
linux-modules-7.2.13+deb14-amd64
initramfs-tools
linux-base
`
	want := []string{"linux-image-7.2.13+deb14-amd64", "linux-modules-7.2.13+deb14-amd64"}
	if got := matchLines(text, kernelPart); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDiskArgs(t *testing.T) {
	disk, err := Disk{Size: 1 << 20, SectorSize: 4096, Serial: "x"}.withDefaults(3, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Join(disk.args(3), " ")
	for _, want := range []string{"cache=writeback", "id=d3", "serial=x", "logical_block_size=4096", "/x.img"} {
		if !strings.Contains(args, want) {
			t.Errorf("%s is not in %s", want, args)
		}
	}
}
