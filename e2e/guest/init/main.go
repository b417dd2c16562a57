// Command init is the first program of the guest: it gives the guest the host's programs under a root of its own,
// starts the agent and collects orphans until the agent ends. It is static and small, because it is the initramfs.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmsnap/dmsnap/e2e/internal/wire"
)

const agentArg = "agent"

func main() {
	if len(os.Args) > 1 && os.Args[1] == agentArg {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(1)
		}
		return
	}
	// When the first process ends the kernel panics, which ends the VM: the host then shows this line.
	if err := boot(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		os.Exit(1)
	}
}

func boot() error {
	config, err := readConfig("/config.json")
	if err != nil {
		return err
	}
	if config.Root != "" {
		return take(config, mountEarly, loadEarly, bootUserland)
	}
	if err := take(config, mountEarly, loadEarly, mountRoot, switchRoot, hideHost, bindModules, tuneKernel, loopbackUp, loadModules,
		networkUp, startUdev); err != nil {
		return err
	}
	return runAgent(config)
}

func take(config wire.Config, steps ...func(wire.Config) error) error {
	for _, step := range steps {
		if err := step(config); err != nil {
			return err
		}
	}
	return nil
}

func readConfig(path string) (wire.Config, error) {
	var config wire.Config
	text, err := os.ReadFile(path)
	if err != nil {
		return config, err
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return config, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// runAgent starts this same program as the agent, reaps whatever is orphaned meanwhile, and powers off after it.
func runAgent(config wire.Config) error {
	process, err := os.StartProcess("/proc/self/exe", []string{"dmsnap-agent", agentArg}, &os.ProcAttr{
		Env:   append(os.Environ(), releaseEnv+"="+config.Release),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait: %w", err)
		}
		if pid == process.Pid {
			break
		}
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
