// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func (o options) socket() string { return filepath.Join(o.dir, "socket") }
func (o options) log() string    { return filepath.Join(o.dir, "log") }
func (o options) pid() string    { return filepath.Join(o.dir, "pid") }

// start leaves a worker running and returns when its work has begun.
func start(o options, stdout, stderr io.Writer) int {
	if status, answer, err := ask(o, "status"); err == nil {
		return say(stderr, max(status, statusFault), o.name, "is already running: "+answer)
	}
	if err := checkRoom(o, readFile("/proc/meminfo")); err != nil {
		return say(stderr, statusShort, o.name, err.Error())
	}
	ready, err := launch(o)
	if err != nil {
		return say(stderr, statusOf(err), o.name, err.Error())
	}
	return say(stdout, statusOK, o.name, ready)
}

// launch runs this program again as the worker. The worker writes a line to
// its file 3 when it is ready; when it dies before, the file ends without.
func launch(o options) (string, error) {
	if err := os.RemoveAll(o.dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return "", err
	}
	log, err := os.Create(o.log())
	if err != nil {
		return "", err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	worker := exec.Command("/proc/self/exe", append([]string{"serve", "--" + dirFlag, o.dir}, o.given...)...)
	worker.Args[0] = o.name
	worker.Dir = "/"
	worker.Stdout, worker.Stderr, worker.ExtraFiles = log, log, []*os.File{w}
	worker.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = worker.Start()
	w.Close()
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(o.pid(), []byte(strconv.Itoa(worker.Process.Pid)), 0o600); err != nil {
		return "", err
	}
	ready, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	if len(ready) == 0 {
		_ = worker.Wait()
		return "", deathOf(o, "the worker did not start")
	}
	return strings.TrimSpace(string(ready)), worker.Process.Release()
}

// ask sends the worker one word and returns its answer and exit status.
func ask(o options, verb string) (int, string, error) {
	conn, err := net.Dial("unix", o.socket())
	if err != nil {
		if _, err := os.Stat(o.dir); err != nil {
			return statusUsage, "", fmt.Errorf("is not running; start it: %s start", o.name)
		}
		err := deathOf(o, "the worker died")
		return statusOf(err), "", err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, verb); err != nil {
		return statusFault, "", err
	}
	reply, err := io.ReadAll(conn)
	status, answer, ok := strings.Cut(strings.TrimSpace(string(reply)), " ")
	number, numberErr := strconv.Atoi(status)
	if err != nil || !ok || numberErr != nil {
		err := deathOf(o, "the worker died while it was asked")
		return statusOf(err), "", err
	}
	if verb == "stop" {
		return number, answer, os.RemoveAll(o.dir)
	}
	return number, answer, nil
}

// shortageError says that the kernel has killed a worker for want of memory.
type shortageError struct{ seen, words string }

func (e *shortageError) Error() string {
	return fmt.Sprintf("%s: the guest ran out of memory and killed it (%s): %s", e.seen, e.words, moreMemory)
}

// deathOf says why a worker is gone; seen is how that was noticed.
func deathOf(o options, seen string) error {
	if pid, err := strconv.Atoi(readFile(o.pid())); err == nil {
		if words := killedForMemory(pid); words != "" {
			return &shortageError{seen, words}
		}
	}
	return fmt.Errorf("%s: %s", seen, lastWords(o))
}

// statusOf is the exit status for the end of a worker.
func statusOf(err error) int {
	if _, short := errors.AsType[*shortageError](err); short {
		return statusShort
	}
	return statusFault
}

// lastWords is the beginning of what a dead worker said: of a crash, the
// beginning says why.
func lastWords(o options) string {
	const limit = 600
	words, err := os.ReadFile(o.log())
	if err != nil {
		return err.Error()
	}
	if len(words) == 0 {
		return "it left no message (killed?)"
	}
	return strings.TrimSpace(string(words[:min(len(words), limit)]))
}

// say prints one line and returns the status.
func say(w io.Writer, status int, name, line string) int {
	fmt.Fprintf(w, "%s: %s\n", name, line)
	return status
}
