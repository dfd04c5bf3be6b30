// SPDX-License-Identifier: Apache-2.0

package sshconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// client is the path of OpenSSH's client.
type client string

// errSSHUnusable means that the program ssh is not OpenSSH's, is too old for ssh -G,
// or does not run for this user at all.
var errSSHUnusable = errors.New("ssh -G does not work")

// queryTimeout limits one run of ssh -G: commands of Match exec may hang.
const queryTimeout = 10 * time.Second

// query runs ssh -G on the files, and without files to know ssh's defaults.
func (c client) query(ctx context.Context, f Files, t Target) (Options, error) {
	byDefault, _, err := c.print(ctx, Target{Name: t.Name}, "-F", os.DevNull)
	if err != nil || byDefault["hostname"] == nil {
		if ctx.Err() != nil {
			return Options{}, context.Cause(ctx)
		}
		return Options{}, errSSHUnusable
	}
	dir, err := os.MkdirTemp("", "mhmig-ssh_config-")
	if err != nil {
		return Options{}, err
	}
	defer os.RemoveAll(dir)
	originals := copies{home: f.Home, dir: dir, of: map[string]string{}}
	which, err := f.arguments(&originals)
	if err != nil {
		return Options{}, err
	}
	values, notices, err := c.print(ctx, t, which...)
	switch {
	case err != nil && ctx.Err() == nil:
		return Options{}, errors.New(originals.originals(err.Error()))
	case err != nil:
		return Options{}, err
	}
	for i, notice := range notices {
		notices[i] = originals.originals(notice)
	}
	maps.DeleteFunc(values, func(keyword string, v []string) bool { return slices.Equal(v, byDefault[keyword]) })
	for keyword, v := range values {
		if keywords[keyword].kind == files {
			values[keyword] = fileNames(v[0])
		}
	}
	o := Options{Notices: notices, values: values}
	o.applyTarget(t)
	return o, nil
}

// print returns the output of ssh -G for t, and its warnings as notices.
func (c client) print(ctx context.Context, t Target, which ...string) (values map[string][]string, notices []string, err error) {
	args := append([]string{"-T", "-G"}, which...)
	if t.User != "" {
		args = append(args, "-l", t.User)
	}
	if t.Port != 0 {
		args = append(args, "-p", strconv.Itoa(t.Port))
	}
	if t.HostName != "" {
		args = append(args, "-o", "HostName="+strings.ReplaceAll(t.HostName, "%", "%%"))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, queryTimeout, fmt.Errorf("it took longer than %v", queryTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, string(c), append(args, "--", t.Name)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// In a new session: commands of Match exec must not use the terminal, and end
	// with ssh.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	for complaint := range strings.Lines(stderr.String()) {
		if complaint = strings.TrimSpace(complaint); complaint != "" {
			notices = append(notices, complaint)
		}
	}
	if err != nil {
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case len(notices) > 0:
			err = errors.New(strings.Join(notices, "; "))
		}
		return nil, nil, fmt.Errorf("ssh -G %s: %w", t.Name, err)
	}
	values = map[string][]string{}
	for text := range strings.Lines(stdout.String()) {
		keyword, value, _ := strings.Cut(strings.TrimRight(text, "\n"), " ")
		keyword = strings.ToLower(keyword)
		values[keyword] = append(values[keyword], value)
	}
	return values, notices, nil
}

// arguments are ssh's arguments to read f, and no other files.
func (f Files) arguments(c *copies) (args []string, err error) {
	own := f.Home
	if u, err := user.Current(); err == nil {
		own = u.HomeDir
	}
	switch {
	case f.User == "" && f.System == "":
		return []string{"-F", os.DevNull}, nil
	case f.Home != own:
	case f.System == "":
		return []string{"-F", f.User}, nil
	case f.System == systemFile && (f.User == "" || f.User == filepath.Join(own, ".ssh", "config")):
		return nil, nil
	}
	var both strings.Builder
	for _, name := range []string{f.User, f.System} {
		if name == "" {
			continue
		}
		if f.Home != own {
			if name, err = c.make(name, 0); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&both, "Include \"%s\"\n", name)
	}
	name := filepath.Join(c.dir, "config")
	return []string{"-F", name}, os.WriteFile(name, []byte(both.String()), 0o600)
}

// systemFile is what ssh reads after the user's file.
const systemFile = "/etc/ssh/ssh_config"

// fileNames splits the output of ssh -G for an option that has several file names.
// ssh does not quote them, so a name with blanks looks like two names: two words
// are one name if the second is not an absolute path and a file of that name
// exists.
func fileNames(value string) []string {
	var names []string
	for w := range strings.SplitSeq(value, " ") {
		if n := len(names); n > 0 && !strings.HasPrefix(w, "/") && !strings.HasPrefix(w, "~") {
			joined := names[n-1] + " " + w
			_, whole := os.Stat(joined)
			_, part := os.Stat(w)
			if whole == nil || part != nil {
				names[n-1] = joined
				continue
			}
		}
		names = append(names, w)
	}
	return names
}
