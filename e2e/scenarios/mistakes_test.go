package scenarios

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// mistake is something a user does wrong, or that is wrong on his machine. What dmsnap says to it is the row of the same
// name in docs/exit-codes.md.
type mistake struct {
	name string
	args string // words in capitals stand for what the scene has
	// prepare brings the mistake about, and takes it back with t.Cleanup.
	prepare func(t *testing.T, s *scene)
}

// scene is a machine with a mounted origin that has no set, and another with a set "held".
type scene struct {
	tool  *lab.Tool
	words []string // pairs: word, what it stands for
	run   func(*exec.Cmd)
}

func newScene(t *testing.T) *scene {
	t.Helper()
	disks := lab.Disks(t, 3)
	v := lab.NewVolume(t, "mis", "ext4", disks[0], disks[1], 0, 32)
	other := lab.NewVolume(t, "oth", "", disks[0], disks[1], 32, 32)
	s := &scene{tool: lab.NewTool(t)}
	s.words = []string{
		"STORE", v.Store, "ORIGIN", v.Device, "MOUNT", v.Dir, "TAKEN", other.Store, "OTHER", other.Device,
		"SPARE", lab.Linear(t, "spare", disks[0], 64, 32), "DISK", disks[2], "DIR", t.TempDir(), "STATE", s.tool.State,
	}
	s.tool.Create("held", other)
	t.Cleanup(func() { s.tool.OK("remove", "held") })
	return s
}

// of is what a word stands for.
func (s *scene) of(word string) string {
	for i := 0; i < len(s.words); i += 2 {
		if s.words[i] == word {
			return s.words[i+1]
		}
	}
	panic("the scene has no " + word)
}

// touch does not return while a filesystem is held.
func touch(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "touched"), nil, 0o600); err != nil {
		t.Error(err)
	}
}

// said is what dmsnap answers.
type said struct {
	Exit                int
	Code, Message, Hint string
}

// TestMistakes makes every mistake. Each is answered with the exit status, the code, the line and the hint that
// docs/exit-codes.md promises, and changes nothing.
func TestMistakes(t *testing.T) {
	lab.Wide(t)
	lab.Need(t)
	promised := promises(t)
	s := newScene(t)
	quiet := s.state(t)
	for _, m := range mistakes() {
		t.Run(m.name, func(t *testing.T) {
			row := *s
			t.Cleanup(func() { touch(t, s.of("MOUNT")) })
			before := quiet
			if m.prepare != nil {
				m.prepare(t, &row)
				before = row.state(t)
			}
			got := row.make(t, m)
			if after := row.state(t); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			want, known := promised[m.name]
			if slices.Contains(strings.Split(want.Code, ", "), got.Code) { // a status may have two codes
				want.Code = got.Code
			}
			if delete(promised, m.name); !known || got != want {
				t.Errorf("docs/exit-codes.md should say, or dmsnap should not:\n| %s | %d | %s | %s |", m.name, got.Exit, got.Message, got.Hint)
			}
		})
	}
}

// make runs the command, in a full run also as people do: they are told the same.
func (s *scene) make(t *testing.T, m mistake) said {
	t.Helper()
	args := strings.Fields(m.args)
	for i := range args {
		args[i] = strings.NewReplacer(s.words...).Replace(args[i])
	}
	stdout, stderr, exit := s.try(t, append(args, "--json")...)
	var out struct{ Error said }
	if err := json.Unmarshal([]byte(stdout), &out); err != nil {
		t.Fatalf("exit %d, no error object: %v\n%s%s", exit, err, stdout, stderr)
	}
	if stderr != "" {
		t.Errorf("also said: %s", stderr)
	}
	if lab.Full() {
		text := fmt.Sprintf("dmsnap: %s\nhint: %s\n", out.Error.Message, out.Error.Hint)
		if stdout, stderr, again := s.try(t, args...); stdout != "" || stderr != text || again != exit {
			t.Errorf("exit %d, and for people %d:\n%s%swant:\n%s", exit, again, stdout, stderr, text)
		}
	}
	out.Error.Exit = exit
	out.Error.Message, out.Error.Hint = s.general(out.Error.Message), s.general(out.Error.Hint)
	return out.Error
}

func (s *scene) try(t *testing.T, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := s.tool.Command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if s.run != nil {
		s.run(cmd)
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// numbers differ from run to run.
var numbers = []struct{ number, word string }{
	{`pid \d+ \([^)]*\)`, "pid PID (COMMAND)"},
	{`pid \d+`, "pid PID"},
	{`Linux \S+`, "Linux RELEASE"},
	{`\d+:\d+\b`, "MAJOR:MINOR"},
	{`origin-\d+_\d+`, "origin-MAJOR_MINOR"},
}

// general puts the words back in.
func (s *scene) general(text string) string {
	for i := 0; i < len(s.words); i += 2 {
		text = regexp.MustCompile(regexp.QuoteMeta(s.words[i+1])+`\b`).ReplaceAllString(text, s.words[i])
	}
	for _, n := range numbers {
		text = regexp.MustCompile(n.number).ReplaceAllString(text, n.word)
	}
	return text
}

// state is all that a mistake must leave as it is: tables, nodes, mounts, loops, records, and who holds locks.
func (s *scene) state(t *testing.T) string {
	t.Helper()
	out := lab.Run(t, "dmsetup", "table", "--showkeys") + lab.Run(t, "dmsetup", "info", "-c", "--noheadings", "-o", "name,uuid,attr")
	for _, glob := range []string{"/dev/mapper/*", "/sys/block/loop*/loop/backing_file", "/proc/self/mountinfo", s.tool.State + "/*/*"} {
		names, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			out += name + "\n"
			if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
				text, err := os.ReadFile(name)
				out += fmt.Sprintf("%s %v\n", text, err)
			}
		}
	}
	return out
}

// promises reads the tables of docs/exit-codes.md.
func promises(t *testing.T) map[string]said {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "exit-codes.md"))
	if err != nil {
		t.Fatal(err)
	}
	codes, rows := map[string]string{}, map[string]said{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch len(cells) {
		case 3:
			codes[cells[0]] = strings.ReplaceAll(cells[1], "`", "")
		case 4:
			var r said
			if _, err := fmt.Sscan(cells[1], &r.Exit); err == nil {
				r.Code, r.Message, r.Hint = codes[cells[1]], cells[2], cells[3]
				rows[cells[0]] = r
			}
		}
	}
	return rows
}
