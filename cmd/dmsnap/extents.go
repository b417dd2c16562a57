package main

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"

	"github.com/dmsnap/dmsnap/dm"
)

// listEnd is the last document of a list: without it the list is not complete.
type listEnd struct {
	Set         string  `json:"set"`
	UUID        string  `json:"uuid"`
	Volume      string  `json:"volume"`
	Since       *string `json:"since"`      // null of allocated
	SinceUUID   *string `json:"since_uuid"` // null of allocated
	From        uint64  `json:"from_bytes"`
	Extents     uint64  `json:"extents"`
	Bytes       uint64  `json:"listed_bytes"`
	Granularity uint64  `json:"granularity_bytes"` // unit in which changes were recorded
	Size        uint64  `json:"size_bytes"`        // of the image
	// Whole says why all of the image is listed, null if it is not.
	Whole *string `json:"whole"`
}

// extentsOf splits SET/VOLUME. Names of sets have no slash.
func extentsOf(name string) (set, volume string) {
	set, volume, _ = strings.Cut(name, "/")
	return set, volume
}

// batch is how many extents one line of JSON has at most.
const batch = 1000

// emitExtents prints a list as it is read, and then that it is complete: an error
// may come after any extent.
func emitExtents(env *Env, list *dm.ExtentList, from uint64) error {
	w := bufio.NewWriterSize(env.Stdout, 1<<16)
	end := listEnd{
		Set: list.Set, UUID: list.UUID, Volume: list.Volume, Since: known(list.Since), SinceUUID: known(list.SinceUUID),
		From: from, Granularity: list.Granularity, Size: list.SizeBytes, Whole: known(list.Whole),
	}
	var held []dm.Extent
	for e, err := range list.All {
		if err != nil {
			return flushed(w, err)
		}
		end.Extents, end.Bytes = end.Extents+1, end.Bytes+e.Length
		if !env.JSON {
			if _, err := fmt.Fprintln(w, e.Offset, e.Length); err != nil {
				return outputError(err)
			}
			continue
		}
		if held = append(held, e); len(held) == batch {
			if err := writeDocument(w, "extents", held); err != nil {
				return err
			}
			held = held[:0]
		}
	}
	if len(held) > 0 {
		if err := writeDocument(w, "extents", held); err != nil {
			return err
		}
	}
	if env.JSON {
		return flushed(w, writeDocument(w, "ends", []listEnd{end}))
	}
	fmt.Fprintln(w, endText(end)) // Flush tells of its error
	return flushed(w, nil)
}

func endText(e listEnd) string {
	text := fmt.Sprintf("end: %d extents, %d of %d bytes, in units of %d", e.Extents, e.Bytes, e.Size, e.Granularity)
	if e.Whole != nil {
		text += "; everything is listed: " + clean(*e.Whole)
	}
	return text
}

func writeDocument[T any](w *bufio.Writer, key string, items []T) error {
	var buf bytes.Buffer
	if err := encode(&buf, key, items); err != nil {
		return err
	}
	if _, err := buf.WriteTo(w); err != nil {
		return outputError(err)
	}
	return nil
}

// flushed prints what is held back, and returns the error that came before.
func flushed(w *bufio.Writer, err error) error {
	if flushing := w.Flush(); flushing != nil && err == nil {
		return outputError(flushing)
	}
	return err
}

func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
