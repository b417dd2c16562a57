package dm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm/internal/hook"
	"github.com/dmsnap/dmsnap/dm/internal/nsexec"
	"github.com/dmsnap/dmsnap/dm/internal/plan"
)

// supervisorArgument is what the program of the package is called with.
const supervisorArgument = "exec-supervisor"

// supervisorCommand is the supervisor to be started. The caller's binary is not
// started again unless it is named.
func (m *Manager) supervisorCommand() ([]string, error) {
	if m.opts.Supervisor != nil {
		return m.opts.Supervisor, nil
	}
	err := hook.Check(m.opts.Kernel, DefaultGuard)
	if err == nil {
		return []string{DefaultGuard, supervisorArgument}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s is not installed", DefaultGuard)
	}
	return nil, &Error{
		Device: DefaultGuard, Code: CodeUnsupported, Err: fmt.Errorf("there is no supervisor for the command: %w", err),
		Hint: "install the dmsnap package, or set Options.Supervisor to a program that calls SupervisorMain",
	}
}

// startSupervisor is the host's unless a test has its own.
func (m *Manager) startSupervisor(command []string, p nsexec.Program) (supervisor, error) {
	if m.supervise != nil {
		return m.supervise(command, p)
	}
	return nsexec.Start(command, p)
}

// program is what the supervisor is told.
func (x *execution) program() (p nsexec.Program, err error) {
	p = nsexec.Program{
		Over: x.set != nil && x.r.As == "" && !x.r.Block, Only: x.r.Only,
		Command: slices.Clone(x.r.Command), Env: x.r.Env, Dir: x.r.Dir, KillAfter: cmp.Or(x.r.KillAfter, defaultKillAfter),
	}
	if p.Env == nil {
		p.Env = os.Environ()
	}
	if p.Dir == "" {
		if p.Dir, err = os.Getwd(); err != nil {
			return p, err
		}
	}
	var words vocabulary
	if x.set != nil {
		if p.Images, err = x.images(); err != nil {
			return p, err
		}
		if words, err = x.vocabulary(p); err != nil {
			return p, err
		}
	}
	if p.Over {
		if p.Writable, err = x.holes(p.Env); err != nil {
			return p, err
		}
	}
	if x.r.As != "" && len(p.Images) > 1 {
		p.Below = x.r.As
	}
	for i, a := range p.Command {
		p.Command[i] = words.fill(a)
	}
	p.Env = append(slices.Clone(p.Env), words.env...)
	return p, nil
}

// images are those of the set, with how and where they are mounted.
func (x *execution) images() (images []nsexec.Image, err error) {
	if x.r.Block {
		return nil, nil
	}
	for _, v := range x.set.Volumes {
		m, err := mountOptions(x.m.opts.Kernel, v)
		if err != nil {
			return nil, err
		}
		image := nsexec.Image{Device: m.Device, FSType: m.FSType, Options: m.Options, Origin: v.OriginDevno.String()}
		if x.r.As != "" {
			image.At = x.r.As
			if len(x.set.Volumes) > 1 {
				image.At = path.Join(x.r.As, mountDirOf(v))
			}
		} else if len(v.Mountpoints) == 0 {
			return nil, plan.Refuse(plan.Usage, v.Origin, "use --as or --block", "%s is not mounted, so that there is no path for its image", v.Origin)
		}
		images = append(images, image)
	}
	slices.SortFunc(images, func(a, b nsexec.Image) int { return strings.Compare(a.At, b.At) })
	return images, nil
}

// noteNumbers tells of images whose number is another one this time.
func (x *execution) noteNumbers() {
	if x.set == nil || x.r.Set != "" {
		return
	}
	for _, v := range x.set.Volumes {
		if !plan.IsStableMinor(v.Devno.Minor) {
			x.result.Renumbered = append(x.result.Renumbered, v.Origin)
			x.m.opts.Logger.Info("the device number of this image is another one than usual", "origin", v.Origin, "number", v.Devno)
		}
	}
}

// vocabulary are the placeholders of a command line, and what stands for them in
// the environment.
type vocabulary struct {
	words []string // pairs
	env   []string
}

// fill replaces all placeholders of one argument. Whatever else is in braces stays.
func (w vocabulary) fill(argument string) string {
	return strings.NewReplacer(w.words...).Replace(argument)
}

func (w *vocabulary) add(name, variable, value string) {
	w.words = append(w.words, "{"+name+"}", value)
	if variable != "" {
		w.env = append(w.env, "DMSNAP_"+variable+"="+value)
	}
}

func (x *execution) vocabulary(p nsexec.Program) (w vocabulary, err error) {
	var cut time.Time
	if x.set.Created != nil {
		cut = x.set.Created.UTC()
	}
	w.add("time", "TIME", cut.Format("2006-01-02T15:04:05Z"))
	w.add("unixtime", "UNIXTIME", strconv.FormatInt(cut.Unix(), 10))
	w.add("set", "SET", x.set.Name)
	for i, v := range x.set.Volumes {
		dir := x.dirOf(v)
		if i == 0 {
			w.add("dev", "DEV", v.Device)
			if dir != "" {
				w.add("dir", "DIR", dir)
			}
		}
		for _, name := range append([]string{v.asked, v.Name}, v.Mountpoints...) {
			w.add("dev:"+name, "", v.Device)
			if dir != "" {
				w.add("dir:"+name, "", dir)
			}
		}
	}
	return w, nil
}

// dirOf is where the command finds an image; "" if it is mounted nowhere.
func (x *execution) dirOf(v Volume) string {
	switch {
	case x.r.Block:
		return ""
	case x.r.As != "" && len(x.set.Volumes) > 1:
		return path.Join(x.r.As, mountDirOf(v))
	case x.r.As != "":
		return x.r.As
	case slices.Contains(v.Mountpoints, v.asked):
		return v.asked
	case len(v.Mountpoints) > 0:
		return v.Mountpoints[0]
	}
	return ""
}

// liveDirs are directories that programs write to whatever they do, and caches of
// backup programs, which refuse to work on those that they cannot write.
func liveDirs(env []string) []string {
	value := map[string]string{}
	for _, v := range env {
		name, text, _ := strings.Cut(v, "=")
		value[name] = text
	}
	dirs := []string{"/tmp", "/var/tmp", "/run", "/dev/shm"}
	if home := value["HOME"]; home != "" {
		dirs = append(dirs, cmp.Or(value["XDG_CACHE_HOME"], path.Join(home, ".cache")), path.Join(home, ".config/borg"))
	}
	for _, name := range []string{"RESTIC_CACHE_DIR", "BORG_BASE_DIR", "BORG_CACHE_DIR", "BORG_CONFIG_DIR", "BORG_SECURITY_DIR", "BORG_KEYS_DIR", "KOPIA_CACHE_DIRECTORY", "TMPDIR"} {
		dirs = append(dirs, value[name])
	}
	return dirs
}

// holes are the directories that stay live. Those that nobody asked for may be
// missing.
func (x *execution) holes(env []string) (holes []nsexec.Hole, err error) {
	for _, dir := range x.r.Writable {
		if !path.IsAbs(dir) {
			return nil, plan.Refuse(plan.Usage, dir, "use an absolute path", "%s is not an absolute path", dir)
		}
		at, err := realDir(dir)
		if err != nil {
			return nil, plan.Refuse(plan.Usage, dir, "name an existing directory", "%s cannot stay writable: %v", dir, err)
		}
		holes = append(holes, nsexec.Hole{Path: at, Asked: true})
	}
	for _, dir := range liveDirs(env) {
		if !path.IsAbs(dir) {
			continue
		}
		if at, err := realDir(dir); err == nil {
			holes = append(holes, nsexec.Hole{Path: at})
		}
	}
	return holes, nil
}

func realDir(dir string) (string, error) {
	at, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	st, err := os.Stat(at)
	if err == nil && !st.IsDir() {
		err = errors.New("not a directory")
	}
	return at, err
}
