package main

import (
	"path/filepath"

	"github.com/dmsnap/dmsnap/dm"
)

// selection has the flags that name origins by what they have in common.
type selection struct {
	All           bool     `help:"Take every filesystem mounted from a block device, but for read-only types such as squashfs."`
	Recursive     []string `sep:"none" placeholder:"PATH" help:"Take the filesystem mounted on PATH and all that are mounted below it; may be repeated."`
	VG            []string `name:"vg" sep:"none" placeholder:"VG" help:"Take all active logical volumes of this LVM volume group but for swap; may be repeated."`
	Except        []string `sep:"none" placeholder:"PATH" help:"Leave out what these flags would take: a device, or what is mounted on PATH and below; may be repeated."`
	AllowUnproven []string `sep:"none" placeholder:"PATH" help:"Accept that the freeze of this filesystem cannot be verified, as is always so for vfat; may be repeated."`
}

func (s selection) none() bool { return !s.All && len(s.Recursive) == 0 && len(s.VG) == 0 }

// apply puts them into a request.
func (s selection) apply(r *dm.CreateRequest) (err error) {
	r.Select.All, r.Select.Groups = s.All, s.VG
	for _, dir := range s.Recursive {
		if dir, err = filepath.Abs(dir); err != nil {
			return err
		}
		r.Select.Below = append(r.Select.Below, dir)
	}
	if r.Select.Except, err = absoluteAll(s.Except); err != nil {
		return err
	}
	r.AllowUnproven, err = absoluteAll(s.AllowUnproven)
	return err
}
