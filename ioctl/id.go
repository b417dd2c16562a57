package ioctl

import "strings"

// ID says which device a call is for. Exactly one field is set; a DevNo is set
// when it is not zero. The kernel would answer two with EINVAL or ENXIO, so they
// are refused here with ErrBadID.
type ID struct {
	Name string
	UUID string
	Dev  DevNo
}

// String is the name, the uuid, or the number.
func (id ID) String() string {
	switch {
	case id.Name != "":
		return id.Name
	case id.UUID != "":
		return id.UUID
	case id.Dev != DevNo{}:
		return id.Dev.String()
	}
	return ""
}

func (id ID) check() error {
	given := 0
	for _, is := range []bool{id.Name != "", id.UUID != "", id.Dev != DevNo{}} {
		if is {
			given++
		}
	}
	if given != 1 || !id.Dev.Valid() {
		return ErrBadID
	}
	if id.Name != "" {
		return checkName(id.Name)
	}
	return checkUUID(id.UUID)
}

// checkName is what every kernel accepts when looking a device up.
func checkName(name string) error {
	if name == "" || len(name) >= nameSize || strings.ContainsAny(name, "/\x00") {
		return ErrBadName
	}
	return nil
}

// checkNewName adds what only later kernels refuse (6.12 does, 6.1 does not): a
// device of such a name would have no node, or hide the control node.
func checkNewName(name string) error {
	if name == "." || name == ".." || name == "control" {
		return ErrBadName
	}
	return checkName(name)
}

// checkUUID accepts the empty uuid, as creation does.
func checkUUID(uuid string) error {
	if len(uuid) >= uuidSize || strings.IndexByte(uuid, 0) >= 0 {
		return ErrBadName
	}
	return nil
}
