// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/fake/shell"
	"github.com/mhmig/mhmig/runtime/guest/guesttest"
	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
)

// guest is the guest of a VM, in whichever of its QEMUs it is.
type guest struct {
	w        *World
	vm       string
	settings Guest
	kit      *kit

	mu         sync.Mutex // guards what follows
	machine    *shell.Machine
	alive      context.Context // ends with the boot
	die        context.CancelCauseFunc
	boots      int
	booted     time.Time
	bootTime   time.Duration
	life, seq  uint64 // of its clock stamps
	stopped    time.Time
	stoodStill time.Duration // since it booted
	offset     time.Duration // of its clock
	frozen     time.Time     // when its clock was stopped; zero: it runs
	panicked   bool
	loggedIn   bool // on its serial console
	conns      map[net.Conn]bool
	consoles   map[net.Conn]*qemu
}

func newGuest(w *World, vm string) *guest {
	g := &guest{w: w, vm: vm, settings: DefaultGuest, conns: map[net.Conn]bool{}, consoles: map[net.Conn]*qemu{}}
	if own := w.Settings[vm]; own != nil {
		g.settings = *own
	}
	g.kit = newKit(g)
	g.renew(g.settings.Boot, nil)
	return g
}

// errCrashed is the cause when a guest's life has ended in a crash: its connections fall
// silent. After a reset they are closed.
var errCrashed = errors.New("the guest has crashed")

// renew gives the guest new memory: files, processes, workloads. why ends what it did.
func (g *guest) renew(bootTime time.Duration, why error) {
	g.mu.Lock()
	if g.die != nil {
		g.die(why)
	}
	g.alive, g.die = context.WithCancelCause(g.w.ctx)
	g.boots++
	g.booted, g.bootTime, g.life, g.stoodStill, g.panicked, g.loggedIn = time.Now(), bootTime, uint64(g.boots), 0, false, false
	var conns map[net.Conn]bool
	if !errors.Is(why, errCrashed) {
		conns, g.conns = g.conns, map[net.Conn]bool{}
	}
	g.mu.Unlock()
	for conn := range conns {
		_ = conn.Close()
	}
	machine := shell.New(shell.NewFiles())
	machine.Unknown = func(command string) { g.w.noteUnknown(g.vm, command) }
	g.kit.install(machine)
	for name, content := range g.w.Files[g.vm] {
		if err := errors.Join(machine.Files.MkdirAll(path.Dir(name)), machine.Files.WriteFile(name, []byte(content))); err != nil {
			g.w.noteUnknown(g.vm, "file "+name+": "+err.Error())
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.machine = machine
}

// boot boots the guest for the first time or again.
func (g *guest) boot() {
	g.renew(g.settings.Boot, nil)
	g.print("\nfake guest, boot " + fmt.Sprint(g.boots) + "\n\nlogin: ")
	g.w.booted(g.vm)
}

// reset is a reboot by the guest itself.
func (g *guest) reset() {
	q := g.w.current(g.vm)
	g.boot()
	if q != nil {
		q.process.Emit("RESET", map[string]any{"guest": true, "reason": "guest-reset"})
	}
}

// crashBoots is how much longer a crash kernel takes, with the dump.
const crashBoots = 5

// crash boots the crash kernel, without a reset.
func (g *guest) crash() {
	g.print("\nKernel crash: starting the crash kernel\n")
	g.renew(crashBoots*g.settings.Boot, errCrashed)
	g.kit.crashed(g.now())
}

// panics stops the guest's kernel.
func (g *guest) panics() {
	g.mu.Lock()
	g.panicked = true
	g.die(errCrashed)
	g.mu.Unlock()
	g.print("\nKernel panic - not syncing: the test says so\n---[ end Kernel panic - not syncing: the test says so ]---\n")
}

func (g *guest) close() {
	g.mu.Lock()
	g.die(nil)
	conns := g.conns
	g.conns = map[net.Conn]bool{}
	machine := g.machine
	g.mu.Unlock()
	for conn := range conns {
		_ = conn.Close()
	}
	machine.Wait()
}

// inMemory is the folder of the guest's files in memory.
const inMemory = "/dev/shm"

// filesInMemory are the contents of the files there.
func (g *guest) filesInMemory() (contents [][]byte) {
	files := g.current().Files
	names, _ := files.ReadDir(inMemory) // there is none before the guest has booted
	for _, name := range names {
		if content, err := files.ReadFile(path.Join(inMemory, name.Name())); err == nil {
			contents = append(contents, content)
		}
	}
	return contents
}

func (g *guest) lifetime() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.alive
}

// now is the guest's clock.
func (g *guest) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if !g.frozen.IsZero() {
		now = g.frozen
	}
	return now.Add(g.offset)
}

func (g *guest) jump(by time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.offset += by
}

func (g *guest) stopClock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = time.Now()
}

func (g *guest) uptime() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Since(g.booted)
}

// bootID is that of the boot of a number.
func bootID(boot int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", boot) }

func (g *guest) bootID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bootID(g.boots)
}

// standsStill and runs follow QEMU's events.
func (g *guest) standsStill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped.IsZero() {
		g.stopped = time.Now()
	}
}

func (g *guest) runs() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopped.IsZero() {
		g.stoodStill += time.Since(g.stopped)
		g.stopped = time.Time{}
	}
}

// load is what it does with its memory.
func (g *guest) load(ram int64) qmptest.Load {
	load := qmptest.Load{RAM: ram, Used: g.settings.Used, Dirty: g.settings.Dirty, Working: g.settings.Busy}
	size, rate := g.kit.memory()
	load.Used, load.Working, load.Dirty = load.Used+size, load.Working+size, load.Dirty+rate
	load.Used = min(load.Used, ram)
	load.Working = min(load.Working, load.Used)
	return load
}

func (g *guest) damage(work, message string) { g.kit.damage(work, message) }

// retry is how often something waits for the guest to run.
const retry = 5 * time.Millisecond

// awaitRunning waits until QEMU runs the guest; false: ctx has ended before.
func (q *qemu) awaitRunning(ctx context.Context) bool {
	for q.process.RunState() != "running" {
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return false
		case <-q.process.Done():
			return false
		case <-q.w.ctx.Done():
			return false
		}
	}
	return true
}

// answers says whether the guest accepts a connection now.
func (g *guest) answers() (accepts, silent bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Since(g.booted) >= g.bootTime, g.panicked
}

// serveSSH serves a connection to the guest's SSH server.
func (g *guest) serveSSH(q *qemu, conn net.Conn) {
	defer conn.Close()
	if !g.own(conn) {
		return
	}
	defer g.disown(conn)
	accepts, silent := g.answers()
	switch {
	case silent, q.process.RunState() != "running":
		_, _ = io.Copy(io.Discard, conn) // until the client gives up
		return
	case !accepts:
		return
	}
	server := &guesttest.Guest{
		Password: g.w.password(g.vm),
		Run:      func(c guesttest.Command) (string, int) { return g.runCommand(q, c) },
		Shell:    func(rw io.ReadWriter) { g.serveShell(q, rw) },
	}
	if g.settings.Refuses {
		server.Password = "\x00" // that nobody has
	}
	server.ServeSSH(conn)
}

// own registers a connection, to be closed when the guest reboots; false if it is too late.
func (g *guest) own(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.w.ctx.Err() != nil {
		return false
	}
	g.conns[conn] = true
	return true
}

func (g *guest) disown(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
}

// runCommand runs a command of a channel of its own.
func (g *guest) runCommand(q *qemu, c guesttest.Command) (string, int) {
	alive := g.lifetime()
	if !q.awaitRunning(alive) {
		return "", 255
	}
	if output, status, answered := g.w.answer(g.vm, c.Text); answered {
		return output, status
	}
	var stdin []byte
	if readsInput(c.Text) {
		var err error
		if stdin, err = io.ReadAll(c.Stdin); err != nil {
			return err.Error(), 1
		}
	}
	out := g.current().Run(alive, alive, c.Text, stdin, nil)
	return string(out.Stdout), out.Status
}

// readsInput says whether a command is one of mhmig's that reads a file from the client.
func readsInput(command string) bool { return strings.HasPrefix(command, "cat >") }

func (g *guest) current() *shell.Machine {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.machine
}

// ctrlC interrupts a command.
const ctrlC = "\x03"

// serveShell serves a shell, by SSH or on the console: lines, until the client has gone.
func (g *guest) serveShell(q *qemu, rw io.ReadWriter) {
	alive := g.lifetime()
	login := g.current().Login(alive)
	lines, interrupts := make(chan string), make(chan struct{}, 1)
	ended, stop := context.WithCancel(alive)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	if closer, ok := rw.(io.Closer); ok { // ends the reading when the guest's life does
		defer context.AfterFunc(alive, func() {
			if !errors.Is(context.Cause(alive), errCrashed) {
				_ = closer.Close()
			}
		})()
	}
	reading.Go(func() {
		defer close(lines)
		input := bufio.NewScanner(rw)
		input.Buffer(nil, 1<<20)
		for input.Scan() {
			line := input.Text()
			if before, after, interrupted := strings.Cut(line, ctrlC); interrupted {
				select {
				case interrupts <- struct{}{}:
				default:
				}
				line = before + after
			}
			select {
			case lines <- line:
			case <-alive.Done():
				for input.Scan() { // until the client has gone, if it has crashed
				}
				return
			case <-ended.Done():
				return
			}
		}
		select { // who has gone needs no answer
		case interrupts <- struct{}{}:
		default:
		}
	})
	for line := range lines {
		if !q.awaitRunning(ended) {
			break
		}
		if strings.TrimSpace(line) == "" {
			_, _ = io.WriteString(rw, prompt)
			continue
		}
		select { // of a command that had ended before
		case <-interrupts:
		default:
		}
		answer := g.line(ended, login, line, interrupts)
		if errors.Is(context.Cause(alive), errCrashed) {
			break
		}
		_, _ = io.WriteString(rw, answer)
	}
	if errors.Is(context.Cause(alive), errCrashed) {
		reading.Wait()
	}
}

// prompt is that of the guest's shell.
const prompt = "~ # "

// line runs a line, until it is interrupted.
func (g *guest) line(ctx context.Context, login *shell.Session, line string, interrupts <-chan struct{}) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-interrupts:
			cancel()
		case <-ended:
		}
	})
	defer watching.Wait()
	defer close(ended)
	if command := commandOf(line); command != "" {
		if output, status, answered := g.w.answer(g.vm, command); answered {
			return reported(line, output, status)
		}
	} else if _, _, answered := g.w.answer(g.vm, strings.TrimSpace(line)); answered { // sent by session.sendline
		return ""
	}
	out := login.Run(ctx, line)
	return string(out.Stdout) + string(out.Stderr)
}

// print writes to the consoles.
func (g *guest) print(text string) {
	g.mu.Lock()
	var all []net.Conn
	for conn, q := range g.consoles {
		if q.process.RunState() == "running" {
			all = append(all, conn)
		}
	}
	g.mu.Unlock()
	for _, conn := range all {
		_, _ = io.WriteString(conn, text)
	}
}

// serveConsole serves the serial console of a QEMU: a login prompt, then a shell.
func (g *guest) serveConsole(q *qemu, conn net.Conn) {
	defer conn.Close()
	g.mu.Lock()
	g.consoles[conn] = q
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.consoles, conn)
	}()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	var login *shell.Session
	asked := false // for the password
	var of context.Context
	never := make(chan struct{})
	for lines.Scan() {
		if !q.awaitRunning(q.w.ctx) {
			return
		}
		accepts, silent := g.answers()
		if silent || !accepts {
			continue
		}
		line := strings.ReplaceAll(lines.Text(), ctrlC, "")
		if alive := g.lifetime(); of != alive {
			of, login, asked = alive, g.current().Login(alive), false
		}
		g.mu.Lock()
		loggedIn := g.loggedIn
		g.mu.Unlock()
		answer := ""
		switch {
		case loggedIn && strings.TrimSpace(line) == "":
			answer = "\n" + prompt
		case loggedIn:
			answer = g.line(of, login, line, never)
		case asked:
			asked = false
			if password := g.w.password(g.vm); g.settings.Refuses || password != "" && line != password {
				answer = "\nLogin incorrect\nlogin: "
				break
			}
			g.mu.Lock()
			g.loggedIn = true
			g.mu.Unlock()
			answer = "\n" + prompt
		case strings.TrimSpace(line) == "":
			answer = "\nlogin: "
		default:
			asked, answer = true, "Password: "
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// serveClock sends the guest's clock stamps while QEMU runs it, and confirms that it was
// restored.
func (g *guest) serveClock(q *qemu, conn net.Conn) {
	restored := func(life uint64) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.life = life
	}
	guesttest.ServeClock(conn, q.w.ctx.Done(), restored, func() (clockwork.Stamp, bool) {
		if accepts, silent := g.answers(); !accepts || silent || q.process.RunState() != "running" {
			return clockwork.Stamp{}, false
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.seq++
		return clockwork.Stamp{Life: g.life, Seq: g.seq, Time: time.Since(g.booted) - g.stoodStill}, true
	})
}
