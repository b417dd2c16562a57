package dm

import (
	"fmt"
	"strings"

	"github.com/dmsnap/dmsnap/ioctl"
)

const (
	interposeHint = "install the package dmsnap-dkms, or see interposer.md"
	lockdownFile  = "/sys/kernel/security/lockdown"
	enforceFile   = "/sys/module/module/parameters/sig_enforce"
)

// missingInterposer says what is in the way of loading the interposer module on
// this host: headers to build it with, and signatures where they are demanded.
// Files that cannot be read say nothing.
func missingInterposer(k *ioctl.Kernel, release string) []Problem {
	out := []Problem{{"the module dm-interpose is neither loaded nor installed", interposeHint}}
	if _, err := k.Stat("/lib/modules/" + release + "/build"); err != nil {
		out = append(out, Problem{
			fmt.Sprintf("the headers of kernel %s, which the module is built with, are not installed", release),
			"on Debian: apt install linux-headers-" + release,
		})
	}
	if signatures(k) {
		out = append(out, Problem{"this kernel loads only signed modules", "sign the module with a key enrolled on this machine: " + interposeHint})
	}
	return out
}

// signatures tells whether modules without a signature are refused: by lockdown,
// as with Secure Boot, or by themselves.
func signatures(k *ioctl.Kernel) bool {
	lockdown, _ := k.ReadFile(lockdownFile)
	enforce, _ := k.ReadFile(enforceFile)
	return strings.Contains(string(lockdown), "[integrity]") || strings.Contains(string(lockdown), "[confidentiality]") ||
		strings.HasPrefix(string(enforce), "Y")
}
