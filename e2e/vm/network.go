package vm

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"time"
)

// monitorLimit is ample for a question that QEMU answers from memory.
const monitorLimit = time.Minute

// networkArgs make a network inside QEMU: the guest reaches nobody, and the host reaches one port of the guest through a port that
// the kernel chooses. Which one, QEMU says on its monitor, the socket it inherits as descriptor 4.
func networkArgs(port int) []string {
	return []string{
		"-netdev", fmt.Sprintf("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:%d", port),
		"-device", "virtio-net-pci,netdev=net,romfile=",
		"-chardev", "socket,id=monitor,fd=4", "-mon", "chardev=monitor,mode=control",
	}
}

var forwarded = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+(\S+)\s+(\d+)\s`)

// forwardedAddress asks the monitor where the guest's port is on the host.
func forwardedAddress(monitor *os.File) (string, error) {
	if err := monitor.SetDeadline(time.Now().Add(monitorLimit)); err != nil {
		return "", err
	}
	answers := json.NewDecoder(monitor)
	var greeting json.RawMessage
	if err := answers.Decode(&greeting); err != nil {
		return "", fmt.Errorf("QEMU's monitor: %w", err)
	}
	var text string
	for _, question := range []string{
		`{"execute":"qmp_capabilities"}`,
		`{"execute":"human-monitor-command","arguments":{"command-line":"info usernet"}}`,
	} {
		answer, err := ask(monitor, answers, question)
		if err != nil {
			return "", fmt.Errorf("QEMU's monitor, %s: %w", question, err)
		}
		_ = json.Unmarshal(answer, &text) // the first answer is no text
	}
	m := forwarded.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("QEMU forwards no port:\n%s", text)
	}
	return net.JoinHostPort(m[1], m[2]), nil
}

// ask sends one command, and passes over the events before its answer.
func ask(monitor *os.File, answers *json.Decoder, question string) (json.RawMessage, error) {
	if _, err := monitor.WriteString(question + "\n"); err != nil {
		return nil, err
	}
	for {
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  json.RawMessage `json:"error"`
		}
		if err := answers.Decode(&answer); err != nil {
			return nil, err
		}
		if answer.Error != nil {
			return nil, fmt.Errorf("refused: %s", answer.Error)
		}
		if answer.Return != nil {
			return answer.Return, nil
		}
	}
}
