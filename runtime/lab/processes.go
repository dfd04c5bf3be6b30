// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// killMarked kills all processes with MHMIG_LAB=id in their environment, waits until
// they are gone, and returns how many there were.
func killMarked(ctx context.Context, id string) (killed int, err error) {
	for {
		pids, err := marked(id)
		if err != nil || len(pids) == 0 {
			return killed, err
		}
		for _, pid := range pids {
			if err := killProcess(ctx, pid, id); err != nil {
				return killed, fmt.Errorf("kill process %d, which ran on a host of the lab: %w", pid, err)
			}
			killed++
		}
	}
}

// marked returns the processes with MHMIG_LAB=id in their environment, except this
// one.
func marked(id string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes of the lab: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() && isMarked(pid, id) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isMarked reports whether a process belongs to the lab. The environments of dead
// processes and of other users' processes cannot be read.
func isMarked(pid int, id string) bool {
	environment, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	for variable := range bytes.SplitSeq(environment, []byte{0}) {
		if string(variable) == "MHMIG_LAB="+id {
			return true
		}
	}
	return false
}

// killProcess kills a process of the lab and waits until it has ended. The
// pidfd is opened before the check, so that a process that reuses the PID is not
// killed.
func killProcess(ctx context.Context, pid int, id string) error {
	p, err := openProcess(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return err
	}
	defer p.close()
	if !isMarked(pid, id) {
		return nil
	}
	return errors.Join(p.signal(unix.SIGKILL), p.wait(ctx))
}

// process is a pidfd of a process that may not be our child.
type process struct{ fd int }

func openProcess(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return process{fd}, err
}

// signal sends a signal. That the process has ended is no error.
func (p process) signal(signal unix.Signal) error {
	if err := unix.PidfdSendSignal(p.fd, signal, nil, 0); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// wait blocks until the process or ctx has ended.
func (p process) wait(ctx context.Context) error {
	const step = 50 * time.Millisecond // between two looks at ctx
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(step.Milliseconds()))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}

func (p process) close() { unix.Close(p.fd) }
