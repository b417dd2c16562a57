package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dmsnap/dmsnap/e2e/lab"
)

// servers puts Debian's database servers into the guest, in its own root and no longer than it lives, and makes their users.
func servers(t *testing.T) {
	t.Helper()
	debs, fetched := os.LookupEnv("DMSNAP_DEBS")
	if !fetched {
		t.Fatal("DMSNAP_DEBS does not name the packages of the servers")
	}
	lab.Run(t, "sh", "-ec", `
		for deb in $0; do
			dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C /
		done
		ldconfig
		for user in postgres mysql; do id $user >/dev/null 2>&1 || useradd --system $user; done
		install -d -o postgres /run/postgresql /run/pgimage
		install -d -o mysql /run/mysqld`, debs)
	t.Setenv("TMPDIR", "/tmp") // for servers too
}

// reachable lets servers come to a directory of a test.
func reachable(t *testing.T, dir string) {
	t.Helper()
	lab.Run(t, "sh", "-ec", `d=$0; while [ "$d" != / ]; do chmod o+x "$d"; d=$(dirname "$d"); done`, dir)
}

// hooks is a directory with one of the ready-made hooks.
func hooks(t *testing.T, name string) string {
	t.Helper()
	dir := "/etc/dmsnap-hooks-" + name
	lab.Run(t, "sh", "-ec", `mkdir -p "$1" && cp ../../docs/hooks/"$0" "$1" && chown -R root:root "$1" && chmod 755 "$1" "$1"/*`, name, dir)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// committer inserts one row after the other and counts those that were committed.
type committer struct {
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	rows int
	err  error
}

func startCommitter(insert func(n int) error) *committer {
	c := &committer{stop: make(chan struct{})}
	c.done.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-c.stop:
				return
			default:
			}
			err := insert(n)
			c.mu.Lock()
			if c.err = err; err == nil {
				c.rows = n
			}
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	return c
}

func (c *committer) committed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows
}

func (c *committer) end(t *testing.T) {
	t.Helper()
	close(c.stop)
	c.done.Wait()
	if c.err != nil {
		t.Error(c.err)
	}
}

// atApplicationLevel cuts with a hook, and mounts the image writable: its server recovers from its log.
func atApplicationLevel(t *testing.T, tool *lab.Tool, v lab.Volume, hook string) (dir string) {
	t.Helper()
	set := tool.CreateWith("db", []string{"--hooks", hooks(t, hook), "--writable"}, v)
	if set.Receipt.Consistency != "application" {
		t.Errorf("consistency %s", set.Receipt.Consistency)
	}
	dir = t.TempDir()
	reachable(t, dir)
	lab.Run(t, "mount", set.Volumes[0].Device, dir)
	t.Cleanup(func() { // what a failed test leaves
		_ = exec.Command("umount", dir).Run()
		_, _, _ = tool.Try("remove", "db")
	})
	return dir
}

// TestPostgreSQL: a server started on the image has every row that was committed before the cut, and none out of order.
func TestPostgreSQL(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	servers(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "pg", "ext4", disks[0], disks[1], 0, 400)
	bin, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bin) == 0 {
		t.Fatalf("no server: %v", err)
	}
	as := func(args ...string) string {
		return lab.Run(t, "runuser", append([]string{"-u", "postgres", "--"}, args...)...)
	}
	start := func(data, sockets string) {
		as(bin[0]+"/pg_ctl", "-D", data, "-w", "-s", "-l", sockets+"/log", "-o", "-c listen_addresses= -k "+sockets, "start")
		t.Cleanup(func() {
			_ = exec.Command("runuser", "-u", "postgres", "--", bin[0]+"/pg_ctl", "-D", data, "-w", "-s", "-m", "immediate", "stop").Run()
		})
	}
	psql := func(sockets, sql string) (string, error) {
		return answer(exec.Command("runuser", "-u", "postgres", "--", bin[0]+"/psql", "-h", sockets, "-XqAt", "-c", sql))
	}
	reachable(t, v.Dir)
	data := filepath.Join(v.Dir, "data")
	lab.Run(t, "install", "-d", "-o", "postgres", "-m", "700", data)
	as(bin[0]+"/initdb", "-D", data, "--no-sync", "-A", "trust")
	start(data, "/run/postgresql")
	if _, err := psql("/run/postgresql", "CREATE TABLE t (n int)"); err != nil {
		t.Fatal(err)
	}
	c := startCommitter(func(n int) error {
		_, err := psql("/run/postgresql", fmt.Sprintf("INSERT INTO t VALUES (%d)", n))
		return err
	})
	waitRows(t, c, 5)
	tool := lab.NewTool(t)
	least := c.committed()
	image := atApplicationLevel(t, tool, v, "10-postgresql")
	most := c.committed() + 1
	waitRows(t, c, most+2)

	lab.Run(t, "rm", filepath.Join(image, "data/postmaster.pid")) // names the other server, which lives
	start(filepath.Join(image, "data"), "/run/pgimage")
	out, err := psql("/run/pgimage", "SELECT count(*) || ' ' || max(n) FROM t")
	t.Logf("between %d and %d rows were committed at the cut; the image has (count, last) %s", least, most, out)
	if err != nil {
		t.Fatal(err)
	}
	rowsOf(t, out, least, most)
	as(bin[0]+"/pg_ctl", "-D", filepath.Join(image, "data"), "-w", "-s", "-m", "fast", "stop")
	c.end(t)
	as(bin[0]+"/pg_ctl", "-D", data, "-w", "-s", "-m", "fast", "stop")
	lab.Run(t, "umount", image)
	tool.OK("remove", "db")
}

// TestMariaDB: the hook's lock is held through the window. So a MyISAM table, which has no log, is whole in the image
// although rows are put into it all the time; and InnoDB recovers every committed row.
func TestMariaDB(t *testing.T) {
	lab.Long(t)
	lab.Need(t)
	servers(t)
	disks := lab.Disks(t, 2)
	v := lab.NewVolume(t, "my", "ext4", disks[0], disks[1], 0, 400)
	reachable(t, v.Dir)
	data := filepath.Join(v.Dir, "data")
	lab.Run(t, "install", "-d", "-o", "mysql", data)
	lab.Run(t, "mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	start := func(data, socket string) *exec.Cmd {
		server := exec.Command("mariadbd", "--no-defaults", "--user=mysql", "--datadir="+data, "--socket="+socket, "--skip-networking",
			"--pid-file="+socket+".pid", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M")
		log, err := os.Create(socket + ".log")
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		server.Stdout, server.Stderr = log, log
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
		lab.Run(t, "sh", "-c", `for i in $(seq 300); do mariadb --no-defaults -S "$0" -e 'SELECT 1' >/dev/null 2>&1 && exit; sleep 0.2; done; cat "$0.log"; exit 1`, socket)
		return server
	}
	sql := func(socket, text string) (string, error) {
		return answer(exec.Command("mariadb", "--no-defaults", "-S", socket, "-BN", "-e", text))
	}
	stop := func(server *exec.Cmd, socket string) {
		if _, err := sql(socket, "SHUTDOWN"); err != nil {
			t.Fatal(err)
		}
		_ = server.Wait()
	}
	const live, copied = "/run/mysqld/mysqld.sock", "/run/mysqld/image.sock"
	server := start(data, live)
	if _, err := sql(live, "CREATE DATABASE d; CREATE TABLE d.i (n int) ENGINE=InnoDB; CREATE TABLE d.m (n int, t text) ENGINE=MyISAM"); err != nil {
		t.Fatal(err)
	}
	c := startCommitter(func(n int) error {
		_, err := sql(live, fmt.Sprintf("INSERT INTO d.i VALUES (%d); INSERT INTO d.m VALUES (%d, repeat('x', 5000))", n, n))
		return err
	})
	waitRows(t, c, 5)
	tool := lab.NewTool(t)
	least := c.committed()
	image := atApplicationLevel(t, tool, v, "20-mariadb")
	most := c.committed() + 1
	waitRows(t, c, most+2) // the lock is gone

	second := start(filepath.Join(image, "data"), copied)
	out, err := sql(copied, "CHECK TABLE d.m; SELECT count(*), max(n) FROM d.m")
	if err != nil || !strings.HasPrefix(out, "d.m\tcheck\tstatus\tOK") {
		t.Errorf("the table without a log: %v\n%s", err, out)
	}
	out, err = sql(copied, "SELECT count(*), max(n) FROM d.i")
	t.Logf("between %d and %d rows were committed at the cut; the image has (count, last) %s", least, most, out)
	if err != nil {
		t.Fatal(err)
	}
	rowsOf(t, out, least, most)
	stop(second, copied)
	c.end(t)
	stop(server, live)
	lab.Run(t, "umount", image)
	tool.OK("remove", "db")
}

// answer is what a client printed; an error has it too.
func answer(client *exec.Cmd) (string, error) {
	out, err := client.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func waitRows(t *testing.T, c *committer, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); c.committed() < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d rows, want %d", c.committed(), n)
		}
	}
}

// rowsOf reads a count and the last number: without gaps, and as many as may be.
func rowsOf(t *testing.T, text string, least, most int) {
	t.Helper()
	f := strings.Fields(text)
	if len(f) != 2 || f[0] != f[1] {
		t.Errorf("rows are missing: %q", text)
		return
	}
	if n, err := strconv.Atoi(f[0]); err != nil || n < least || n > most {
		t.Errorf("%d rows, %v; want %d to %d", n, err, least, most)
	}
}
