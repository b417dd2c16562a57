package ioctl

import (
	"fmt"
	"testing"
)

// BenchmarkParseNames decodes the list of all devices, the first call of every command.
func BenchmarkParseNames(b *testing.B) {
	for _, devices := range []int{10, 2000} {
		b.Run(fmt.Sprint(devices), func(b *testing.B) {
			entries := make([]Entry, devices)
			for i := range entries {
				name := fmt.Sprintf("dmsnap-store-set%d-vg-home", i)
				entries[i] = Entry{Dev: DevNo{Major: 254, Minor: uint32(i)}, Name: name, UUID: "DMSNAP-" + name}
			}
			reply := nameList(entries)
			b.ReportAllocs()
			for b.Loop() {
				if list, err := parseNames(reply); err != nil || len(list) != devices {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// BenchmarkParseSpecs decodes a table.
func BenchmarkParseSpecs(b *testing.B) {
	for _, rows := range []int{1, 10000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			specs := make([]Spec, rows)
			for i := range specs {
				specs[i] = Spec{Start: uint64(8 * i), Length: 8, Type: "linear", Params: fmt.Sprintf("253:7 %d", 4096*i)}
			}
			reply := statusTable(specs)
			b.ReportAllocs()
			for b.Loop() {
				if list, err := parseSpecs(reply, uint32(rows)); err != nil || len(list) != rows {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// BenchmarkParseFiemap decodes one full reply about a fragmented file.
func BenchmarkParseFiemap(b *testing.B) {
	extents := make([]Extent, 512)
	for i := range extents {
		extents[i] = Extent{Logical: uint64(i) << 12, Physical: uint64(i) << 20, Length: 4096}
	}
	reply := make([]byte, fiemapHeader+len(extents)*fiemapExtent)
	native.PutUint32(reply[24:], uint32(len(extents)))
	fiemapReply(reply, extents)
	b.ReportAllocs()
	for b.Loop() {
		if list, err := parseFiemap(reply, 0); err != nil || len(list) != len(extents) {
			b.Fatal(len(list), err)
		}
	}
}
