package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/dmsnap/dmsnap/e2e/pack"
)

// runPackage builds the packages of the working directory's module.
func runPackage(ctx context.Context, args []string) error {
	o := pack.Options{Source: "."}
	set := flag.NewFlagSet("e2e package", flag.ContinueOnError)
	set.StringVar(&o.Dir, "o", "packages", "directory for binaries and packages")
	set.StringVar(&o.Version, "version", "", "version of the packages; taken from the commit")
	set.Func("arch", "processor, repeatable; all", func(arch string) error {
		o.Arches = append(o.Arches, arch)
		return nil
	})
	if err := set.Parse(args); err != nil {
		return err
	}
	files, err := pack.Build(ctx, o)
	for _, f := range files {
		fmt.Println(f)
	}
	return err
}
