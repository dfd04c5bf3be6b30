// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

// SurvivesLab reports whether what was made at path, on a host of a lab of this kind in
// dir, still exists on this machine at the same path when the lab is gone. Resources
// that are not files, such as processes and firewall tables, have no path.
func SurvivesLab(kind Kind, dir, path string) bool {
	if kind != Netns {
		return true // all was made on this machine
	}
	if path == "" {
		return false // removed with the host's namespaces
	}
	if states, err := StatesFolder(); err == nil && within(path, states) {
		return true
	}
	for _, own := range []string{"/run", "/root", "/tmp", dir} { // see netns-host.sh
		if within(path, own) {
			return false
		}
	}
	return filepath.IsAbs(path)
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// Local is this machine in place of a host of a lab that is gone, for removing what
// the host has left outside of the lab.
type Local struct{}

// Run runs a command's script with /bin/sh. It supports Script and Timeout of a
// command only. Its error is a [*host.ExitError] when the status is not zero.
func (Local) Run(ctx context.Context, c host.Command) (host.Output, error) {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, &host.TimeoutError{Limit: c.Timeout})
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-s") // the script must not find its own command line
	cmd.Stdin = strings.NewReader("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C\nexport PATH LC_ALL\n" + c.Script)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	started := time.Now()
	err := cmd.Run()
	out := host.Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Status: -1, Duration: time.Since(started)}
	if cmd.ProcessState != nil {
		out.Status = cmd.ProcessState.ExitCode()
	}
	switch _, exited := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		return out, &host.KilledError{Host: "this machine", Command: c.String(), Output: out, Cause: context.Cause(ctx)}
	case exited:
		return out, &host.ExitError{Host: "this machine", Command: c.String(), Output: out}
	default:
		return out, err
	}
}
