package fleet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dmsnap/dmsnap/e2e/vm"
)

// fleet is some machines, and what their users have to reach them: keys, and a configuration of ssh that knows them by name.
type fleet struct {
	dir    string // on a disk that guests see
	debs   []string
	config string
	names  []string
}

// skip keeps a test for the runs that have machines and time.
func skip(t *testing.T) {
	t.Helper()
	if os.Getenv("DMSNAP_MACHINES") == "" {
		t.Skip("starts machines: run by e2e test --all, or with DMSNAP_MACHINES=1 and DMSNAP_FULL=1")
	}
	if os.Getenv("DMSNAP_FULL") == "" {
		t.Skip("full length only: e2e test --all has it")
	}
}

// newFleet starts machines with these names at once, each with a mounted volume, a disk for its store and an sshd. When the test
// ends, nothing may be left on any.
func newFleet(t *testing.T, kernel vm.Kernel, names ...string) *fleet {
	t.Helper()
	f := &fleet{dir: t.TempDir(), names: names}
	f.config = filepath.Join(f.dir, "ssh_config")
	var err error
	if f.debs, err = vm.Packages(t.Context(), "openssh-server"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"host", "user"} {
		must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", filepath.Join(f.dir, key))
	}
	f.write(t, "sshd_config", fmt.Sprintf("HostKey %[1]s/host\nAuthorizedKeysFile %[1]s/user.pub\nStrictModes no\nUsePAM no\n"+
		"PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nPidFile /run/sshd.pid\nMaxStartups 100\n", f.dir))
	f.write(t, "known_hosts", "guest "+f.read(t, "host.pub"))
	machines := make([]*vm.Machine, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			const size = 256 << 20
			m, err := vm.Start(t.Context(), vm.Options{
				Kernel: kernel, Disks: []vm.Disk{{Size: size}, {Size: size}}, MemoryMB: 512, CPUs: 1, Udev: true, Forward: 22,
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			machines[i] = m
		})
	}
	all.Wait()
	var config strings.Builder
	for i, m := range machines {
		if m == nil {
			continue
		}
		t.Cleanup(m.Kill)
		host, port, err := net.SplitHostPort(m.Address())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&config, "Host %s\n\tHostName %s\n\tPort %s\n", names[i], host, port)
	}
	if t.Failed() {
		t.FailNow()
	}
	f.write(t, "ssh_config", config.String()+fmt.Sprintf("Host *\n\tUser root\n\tIdentitiesOnly yes\n\tIdentityFile %[1]s/user\n"+
		"\tUserKnownHostsFile %[1]s/known_hosts\n\tHostKeyAlias guest\n\tStrictHostKeyChecking yes\n\tConnectTimeout 60\n"+
		"\tControlMaster auto\n\tControlPersist 10m\n\tControlPath %[1]s/%%n\n", f.dir))
	for i, name := range names {
		f.serve(t, name, machines[i])
	}
	return f
}

// serve runs the machine's sshd until the test ends.
func (f *fleet) serve(t *testing.T, name string, m *vm.Machine) {
	t.Helper()
	script, err := filepath.Abs("testdata/host.sh")
	if err != nil {
		t.Fatal(err)
	}
	said := &listener{ready: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		// Not in the test's context: that ends before its cleanup.
		result, err := m.Run(context.Background(), vm.Command{
			Path: "/bin/sh", Args: append([]string{script, f.dir}, f.debs...), Stdout: said, Stderr: said, Leaks: true,
		})
		if err == nil && (result.ExitCode != 0 || len(result.Leaks)+len(result.Troubles) > 0) {
			err = fmt.Errorf("%+v", result)
		}
		ended <- err
	}()
	select {
	case <-said.ready:
	case err := <-ended:
		t.Fatalf("%s: no sshd: %v\n%s", name, err, said)
	}
	t.Cleanup(func() {
		f.ssh(t, name, "kill $(cat /run/sshd.pid)")
		must(t, "ssh", "-F", f.config, "-O", "exit", name)
		if err := <-ended; err != nil {
			t.Errorf("%s: %v\n%s", name, err, said)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

// listener waits for the word of an sshd that it serves.
type listener struct {
	bytes.Buffer
	once  sync.Once
	ready chan struct{}
}

func (l *listener) Write(b []byte) (int, error) {
	n, err := l.Buffer.Write(b)
	if bytes.Contains(l.Bytes(), []byte("Server listening on ")) {
		l.once.Do(func() { close(l.ready) })
	}
	return n, err
}

// ssh runs a command line on a host.
func (f *fleet) ssh(t *testing.T, name, line string) string {
	t.Helper()
	return must(t, "ssh", "-F", f.config, name, line)
}

// ansible runs one of Ansible's commands with the collection of the working directory, for hosts of the fleet.
func (f *fleet) ansible(t *testing.T, program string, args ...string) string {
	t.Helper()
	collection, err := filepath.Abs("../../ansible")
	if err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(f.dir, "ansible_collections", "dmsnap")
	if err := os.MkdirAll(place, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(collection, filepath.Join(place, "dmsnap")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	f.write(t, "hosts", strings.Join(f.names, "\n")+"\n\n[all:vars]\nansible_python_interpreter=/usr/bin/python3\n")
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-i", filepath.Join(f.dir, "hosts")}, args...)...)
	cmd.Dir = collection
	cmd.Env = append(os.Environ(), "ANSIBLE_COLLECTIONS_PATH="+f.dir, "ANSIBLE_HOME="+f.dir, "ANSIBLE_LOCAL_TEMP="+f.dir,
		"ANSIBLE_SSH_ARGS=-F "+f.config, "ANSIBLE_PIPELINING=1", "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8", "TZ=Asia/Kolkata", "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (f *fleet) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func must(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}
