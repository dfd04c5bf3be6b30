// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Facts are properties of a host.
type Facts struct {
	Kernel      string // "6.1.0-18-amd64"
	Hostname    string
	Arch        string // "x86_64", as uname has it
	OS          string // "Debian GNU/Linux 12 (bookworm)"
	User        string // the user that commands run as
	CPUs        int
	MemoryBytes int64
	BootID      string // differs between machines and between their boots
}

// Facts queries the host's properties.
func (h *Host) Facts(ctx context.Context) (Facts, error) {
	out, err := h.Run(ctx, Command{Script: `
set -- $(uname -nrm)
echo "hostname=$1"
echo "kernel=$2"
echo "arch=$3"
echo "user=$(id -un)"
echo "cpus=$(getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
while read -r key value unit; do
	[ "$key" = MemTotal: ] && echo "memory=$value"
done </proc/meminfo
[ -r /proc/sys/kernel/random/boot_id ] && read -r boot </proc/sys/kernel/random/boot_id && echo "boot=$boot"
if [ -r /etc/os-release ]; then . /etc/os-release; echo "os=$PRETTY_NAME"; fi
`})
	if err != nil {
		return Facts{}, fmt.Errorf("query the host's facts: %w", err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out.Stdout)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = value
		}
	}
	cpus, cpuErr := strconv.Atoi(values["cpus"])
	kib, memoryErr := strconv.ParseInt(values["memory"], 10, 64)
	if err := errors.Join(cpuErr, memoryErr); err != nil {
		return Facts{}, fmt.Errorf("%s: query the host's facts: %w", h.Name(), err)
	}
	return Facts{
		Kernel: values["kernel"], Hostname: values["hostname"], Arch: values["arch"], OS: values["os"], User: values["user"],
		CPUs: cpus, MemoryBytes: kib << 10, BootID: values["boot"],
	}, nil
}

// FreePort returns a TCP port that nothing on the host uses now, and that it has
// not returned before. The port is below Linux's range of ephemeral ports, so that
// no outgoing connection takes it.
func (h *Host) FreePort(ctx context.Context) (int, error) {
	const first, last = 20000, 32000
	used, err := h.localPorts(ctx, "")
	if err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	offset := rand.IntN(last - first)
	for i := range last - first {
		port := first + (offset+i)%(last-first)
		if !used[port] && !h.ports[port] {
			h.ports[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("%s: find a free port: all of %d to %d are taken", h.Name(), first, last)
}

// ReservePort returns the first TCP port from first to last that no socket on the host has,
// and that neither it nor [Host.FreePort] has returned to others. They do not get it until
// release is called. A connection that has ended keeps its port for a minute, but not from
// a program that listens with SO_REUSEADDR.
func (h *Host) ReservePort(ctx context.Context, first, last int) (port int, release func(), err error) {
	used, err := h.localPorts(ctx, timeWait)
	if err != nil {
		return 0, nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for port := first; port <= last; port++ {
		if used[port] || h.ports[port] {
			continue
		}
		h.ports[port] = true
		return port, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.ports, port)
		}, nil
	}
	return 0, nil, fmt.Errorf("%s: find a free port: all of %d to %d are taken", h.Name(), first, last)
}

// localPorts returns the local ports of the host's TCP sockets, without those in a state.
func (h *Host) localPorts(ctx context.Context, without string) (map[int]bool, error) {
	out, err := h.Run(ctx, Command{Script: "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || cat /proc/net/tcp"})
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	ports, err := localPorts(out.Stdout, without)
	if err != nil {
		return nil, fmt.Errorf("%s: find a free port: %w", h.Name(), err)
	}
	return ports, nil
}

// timeWait is the state TIME_WAIT in the kernel's tables of TCP sockets.
const timeWait = "06"

// localPorts returns the local ports in the kernel's tables of TCP sockets, without those in
// a state. The tables' lines are like "0: 0100007F:1F90 00000000:0000 0A …".
func localPorts(tables []byte, without string) (map[int]bool, error) {
	ports := map[int]bool{}
	lines := bufio.NewScanner(bytes.NewReader(tables))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasSuffix(fields[0], ":") || fields[3] == without {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		ports[int(port)] = true
	}
	return ports, lines.Err()
}
