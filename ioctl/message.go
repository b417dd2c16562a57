package ioctl

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// messageBody is struct dm_target_msg: sector 0, text 8.
func messageBody(sector uint64, text string) ([]byte, error) {
	if text == "" || strings.IndexByte(text, 0) >= 0 {
		return nil, ErrBadSpec
	}
	b := make([]byte, 8, 8+len(text)+1)
	native.PutUint64(b, sector)
	b = append(b, text...)
	return append(b, 0), nil
}

// replyText is the text in a reply with the flag DM_DATA_OUT.
func replyText(h *header, b []byte) (string, error) {
	payload, err := h.payload(b)
	if err != nil {
		return "", err
	}
	s, _, err := text(payload)
	return s, err
}

// orNotFound settles what ENXIO means where a target can answer it as well as the
// lookup: if the device cannot be found either, err says so.
func (c *Control) orNotFound(id ID, err error) error {
	e, ok := err.(*Error)
	if !ok || e.Err != unix.ENXIO {
		return err
	}
	_, missing := c.Status(id)
	e.lookup = errors.Is(missing, ErrNotFound)
	return err
}
