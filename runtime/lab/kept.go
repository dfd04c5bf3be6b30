// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mhmig/mhmig/runtime/host"
)

const (
	keptDir = "kept"     // in the user's folder of labs
	keptLog = "kept.log" // output of the kept lab's process
	// lockStep is the time between two attempts to take a lock.
	lockStep = 20 * time.Millisecond
	// reportFD is where the process of the kept lab reports that it is up.
	reportFD = 3
)

// endGrace is how long the process of a kept lab may take to remove the lab before it is
// killed.
var endGrace = closeTimeout + 5*time.Second

// ErrDown means that there is no kept lab.
var ErrDown = errors.New("no lab is up")

// UpError means that there is a kept lab already.
type UpError struct{ State *State }

// Error implements error.
func (e *UpError) Error() string {
	return fmt.Sprintf("a lab is up already: %d %s hosts since %s; `mhmig lab down` ends it",
		len(e.State.Hosts), e.State.Kind, e.State.Since.Format(time.DateTime))
}

// Find returns the user's kept lab. The error is [ErrDown] if there is none,
// also when its process has died.
func Find() (*State, error) {
	folder, err := Folder()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(folder, keptDir)
	s, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrDown
	} else if err != nil {
		return nil, err
	}
	if alive, err := ownerAlive(dir); err != nil {
		return nil, err
	} else if !alive || !s.Ready {
		return nil, ErrDown
	}
	return s, nil
}

// Up starts the kept lab in a background process, which runs command and there
// calls [Serve]. It returns when all hosts answer. Dir and Logger of o are not
// used. The error is an [*UpError] if there is a kept lab. Dead labs are removed
// first.
func Up(ctx context.Context, o Options, command []string) (*State, error) {
	unlock, err := lockFolder(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if s, err := Find(); err == nil {
		return nil, &UpError{s}
	} else if !errors.Is(err, ErrDown) {
		return nil, err
	}
	if _, err := RemoveDead(ctx); err != nil {
		return nil, err
	}
	if err := launchKept(ctx, o, command); err != nil {
		return nil, err
	}
	s, err := Find()
	if err != nil {
		return nil, err
	}
	if err := s.Check(ctx); err != nil {
		// Even after an interrupt: nobody would know of the lab.
		undoTimeout := endGrace + closeTimeout
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), undoTimeout, fmt.Errorf("the lab did not end within %s", undoTimeout))
		defer cancel()
		return nil, errors.Join(err, endKept(ctx, s.PID))
	}
	return s, nil
}

// launchKept starts the process of the kept lab and waits for its report. It ends the
// process if there is no lab, or ctx ends.
func launchKept(ctx context.Context, o Options, command []string) error {
	folder, err := Folder()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(folder, keptLog))
	if err != nil {
		return err
	}
	defer log.Close()
	request, err := json.Marshal(keptRequest{Hosts: o.Hosts, Kind: o.Kind, Dir: filepath.Join(folder, keptDir)})
	if err != nil {
		return err
	}
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer report.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{reportEnd} // becomes reportFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	reportEnd.Close()
	if err != nil {
		return fmt.Errorf("start the lab's process: %w", err)
	}
	reported := make(chan []byte, 1)
	reading.Go(func() { // ends with the process, or when report is closed
		text, _ := io.ReadAll(report)
		reported <- text
	})
	var text []byte
	select {
	case text = <-reported:
	case <-ctx.Done():
	}
	if string(text) == keptReady {
		return cmd.Process.Release()
	}
	endStarted(cmd)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(text) > 0 {
		return errors.New(string(text))
	}
	output, _ := os.ReadFile(log.Name())
	return fmt.Errorf("the lab's process ended before the lab was up: %s\n%s", cmd.ProcessState, bytes.TrimSpace(output))
}

// endStarted ends the process of a lab that is not up, and waits for its end: one that has
// not removed what it has made of the lab in time, or is stopped, is killed. ProcessState
// has its status then. What it leaves is removed as that of a dead lab.
func endStarted(cmd *exec.Cmd) {
	cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(endGrace, func() { cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait()
}

// keptRequest is what the process of the kept lab reads from its standard input.
type keptRequest struct {
	Hosts int
	Kind  Kind
	Dir   string
}

// keptReady is the report of a lab that is up; any other text is an error's.
const keptReady = "ready\n"

// Serve is the main function of the kept lab's process, which [Up] has started. It
// returns when ctx has ended and the lab is removed.
func Serve(ctx context.Context, log *slog.Logger) error {
	syscall.CloseOnExec(reportFD) // Up reads until all write ends are closed
	report := os.NewFile(reportFD, "report")
	var request keptRequest
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return fmt.Errorf("read what lab to start (this command is for `mhmig lab up` only): %w", err)
	}
	l, err := Start(ctx, Options{Hosts: request.Hosts, Kind: request.Kind, Dir: request.Dir, Logger: log})
	if err != nil {
		fmt.Fprint(report, err)
		return err
	}
	if _, err := io.WriteString(report, keptReady); err != nil {
		return errors.Join(fmt.Errorf("report that the lab is up: %w", err), l.Close())
	}
	if err := report.Close(); err != nil {
		return errors.Join(err, l.Close())
	}
	<-ctx.Done()
	return l.Close()
}

// Down ends the kept lab, and returns when it is removed. The error is [ErrDown] if
// there was none; a dead one is removed. A lab in use, see [State.Use], is not
// ended unless force is set: the error is an [*InUseError].
func Down(ctx context.Context, force bool) error {
	unlock, err := lockFolder(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	folder, err := Folder()
	if err != nil {
		return err
	}
	dir := filepath.Join(folder, keptDir)
	s, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrDown
	} else if err != nil {
		return err
	}
	if alive, err := ownerAlive(dir); err != nil {
		return err
	} else if alive && !force {
		if users := s.users(); len(users) > 0 {
			return &InUseError{users}
		}
	}
	return endKept(ctx, s.PID)
}

// endKept ends the process of the kept lab, and removes what that leaves. The caller has
// locked the folder.
func endKept(ctx context.Context, pid int) error {
	folder, err := Folder()
	if err != nil {
		return err
	}
	dir := filepath.Join(folder, keptDir)
	if err := endOwner(ctx, dir, pid); err != nil {
		return err
	}
	_, err = Remove(ctx, dir)
	return errors.Join(err, os.RemoveAll(filepath.Join(folder, keptLog)))
}

// endOwner terminates the process that owns the lab in dir with SIGTERM, and with
// SIGKILL after a timeout.
func endOwner(ctx context.Context, dir string, pid int) error {
	p, err := openProcess(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return fmt.Errorf("end the lab's process %d: %w", pid, err)
	}
	defer p.close()
	if alive, err := ownerAlive(dir); err != nil || !alive {
		return err // the PID may have been reused
	}
	wait, cancel := context.WithTimeout(ctx, endGrace)
	defer cancel()
	if err := p.signal(unix.SIGTERM); err != nil {
		return fmt.Errorf("end the lab's process %d: %w", pid, err)
	}
	if p.wait(wait) == nil {
		return nil
	}
	if err := errors.Join(p.signal(unix.SIGKILL), p.wait(ctx)); err != nil {
		return fmt.Errorf("kill the lab's process %d: %w", pid, err)
	}
	return nil
}

// Check connects to all hosts of the lab, and returns nil if they answer.
func (s *State) Check(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range s.Configs() {
		group.Go(func() error {
			h, err := host.Dial(ctx, c, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			return h.Close()
		})
	}
	return group.Wait()
}

// lockFolder prevents other processes of the user from starting and ending the kept
// lab until unlock. The lock is on the folder itself, so that no lock file is left.
func lockFolder(ctx context.Context) (unlock func(), err error) {
	folder, err := Folder()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for labs (MHMIG_CACHE can name another one): %w", err)
	}
	return waitForLock(ctx, folder, "another command that starts or ends the lab")
}

// waitForLock locks a folder, when holder has released it. It does not block in the
// kernel, where ctx would not end it while the holder is stopped.
func waitForLock(ctx context.Context, dir, holder string) (unlock func(), err error) {
	lock := flock.New(dir, flock.SetFlag(os.O_RDONLY))
	if _, err := lock.TryLockContext(ctx, lockStep); err != nil {
		return nil, fmt.Errorf("wait for %s: %w", holder, cmp.Or(context.Cause(ctx), err))
	}
	return func() { _ = lock.Close() }, nil // otherwise it ends with the process
}
