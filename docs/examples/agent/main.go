// Command agent is a small backup program on package dm. It cuts all volumes it
// is given at one instant, copies their images into a directory and takes the
// set down again, however it ends. After a kill -9 the next run does that.
//
//	agent -to /backup /home=/dev/vdc /srv=/dev/vdd
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dmsnap/dmsnap/dm"
)

// setName is always the same: so a set that an earlier run left is found.
const setName = "agent"

func main() {
	to := flag.String("to", ".", "directory to copy the images to; on none of the volumes")
	state := flag.String("state-dir", dm.DefaultStateDir, "where dmsnap keeps its state")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: agent [-to DIR] [-state-dir DIR] ORIGIN=STORE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	request, err := parse(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(2)
	}
	// Signals end the context; what was begun is then taken back.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	m := dm.New(dm.Options{StateDir: *state}) // the guard is that of the dmsnap package
	err = backup(ctx, m, request, *to)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// parse makes the request out of ORIGIN=STORE words.
func parse(words []string) (dm.CreateRequest, error) {
	r := dm.CreateRequest{Name: setName, Stores: map[string]string{}}
	for _, w := range words {
		origin, store, found := strings.Cut(w, "=")
		if !found {
			return r, fmt.Errorf("%q is not ORIGIN=STORE", w)
		}
		r.Origins = append(r.Origins, origin)
		r.Stores[origin] = store
	}
	if len(r.Origins) == 0 {
		return r, errors.New("no origin is named")
	}
	return r, nil
}

// backup leaves no set behind, or says so.
func backup(ctx context.Context, m *dm.Manager, r dm.CreateRequest, to string) (err error) {
	if err := m.Remove(ctx, dm.RemoveRequest{Name: setName}); err != nil && !errors.Is(err, dm.ErrNotFound) {
		return fmt.Errorf("a set of an earlier run: %w", err)
	}
	set, err := m.Create(ctx, r)
	if err == nil || errors.Is(err, dm.ErrPartial) {
		// Made in part is made. It must go also when ctx has ended.
		defer func() { err = errors.Join(err, m.Remove(context.WithoutCancel(ctx), dm.RemoveRequest{Name: setName})) }()
	}
	if err != nil {
		return hinted(err)
	}
	fmt.Printf("cut %d volumes, %s, writers held for %v\n", len(set.Volumes), set.Receipt.Consistency, set.Receipt.Window)
	for _, v := range set.Volumes {
		if err := save(ctx, m, v, to); err != nil {
			return hinted(fmt.Errorf("copy of %s: %w", v.Origin, err))
		}
	}
	return nil
}

// save copies one image. A file without .part is complete, and of a good image.
func save(ctx context.Context, m *dm.Manager, v dm.Volume, to string) (err error) {
	image, err := m.OpenVolume(ctx, dm.OpenRequest{Set: setName, Volume: v.Name})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	path := filepath.Join(to, v.Name+".img")
	out, err := os.OpenFile(path+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, reader{ctx, io.NewSectionReader(image, 0, image.Size())})
	err = errors.Join(err, out.Sync(), out.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path+".part"))
	}
	return os.Rename(path+".part", path)
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// hinted adds what the user can do.
func hinted(err error) error {
	if e, ok := errors.AsType[*dm.Error](err); ok && e.Hint != "" {
		return fmt.Errorf("%w (%s)", err, e.Hint)
	}
	return err
}
