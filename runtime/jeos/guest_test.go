// SPDX-License-Identifier: Apache-2.0

package jeos_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
	"github.com/mhmig/mhmig/runtime/jeos/jeostest"
)

// machine is a QEMU with the guest in it.
type machine struct {
	dir     string
	pid     int
	monitor net.Conn
	exited  chan struct{}
	booted  time.Time
}

// boot starts the guest under TCG with 128 MiB and a 16 MiB disk.
func boot(t *testing.T, params string) *machine {
	t.Helper()
	return bootWith(t, jeos.MemoryMiB, params)
}

// bootWith is boot with that much memory, and with more devices.
func bootWith(t *testing.T, memoryMiB int, params string, devices ...string) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a guest in QEMU: not with -short")
	}
	image := jeostest.Image(t)
	dir, err := os.MkdirTemp("", "mhmig-jeos-") // short: unix sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 16<<20); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-m", fmt.Sprint(memoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", image.Kernel, "-initrd", image.Initrd, "-append", image.KernelParams+" "+params,
		"-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:0-:22", "-device", "virtio-net-pci,netdev=n,romfile=",
		"-drive", "if=virtio,format=raw,file="+disk,
		"-chardev", "socket,id=s,path="+dir+"/serial,server=on,wait=off", "-serial", "chardev:s",
		"-device", "virtio-serial-pci,id=clocks,max_ports=2", "-chardev", "socket,id=c,path="+dir+"/clock,server=on,wait=off",
		"-device", "virtserialport,bus=clocks.0,chardev=c,name="+clockwork.PortName,
		"-monitor", "unix:"+dir+"/monitor,server,nowait")
	cmd.Args = append(cmd.Args, devices...)
	cmd.Stderr = &stderr
	m := &machine{dir: dir, exited: make(chan struct{}), booted: time.Now()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.pid = cmd.Process.Pid
	go func() { // ends with QEMU, which the cleanup waits for
		_ = cmd.Wait()
		close(m.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-m.exited
		if t.Failed() {
			t.Logf("QEMU: %s", stderr.String())
		}
	})
	m.monitor = m.dial(t, "monitor")
	return m
}

// cpuTime is what QEMU has used so far.
func (m *machine) cpuTime(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.pid))
	if err != nil {
		t.Fatal(err)
	}
	const utime, ticksPerSecond = 11, 100 // counted from after the name; USER_HZ
	var user, system int
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	if _, err := fmt.Sscan(fields[utime]+" "+fields[utime+1], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * time.Second / ticksPerSecond
}

// dial connects to one of QEMU's sockets as soon as it is there.
func (m *machine) dial(t *testing.T, name string) net.Conn {
	t.Helper()
	var conn net.Conn
	eventually(t, time.Minute, "QEMU's "+name+" socket", func() (err error) {
		conn, err = net.Dial("unix", filepath.Join(m.dir, name))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// eventually tries until f succeeds.
func eventually(t *testing.T, limit time.Duration, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	step := time.NewTicker(10 * time.Millisecond)
	defer step.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v after %v", what, err, limit)
		case <-step.C:
		}
	}
}

// say types a monitor command and returns its answer.
func (m *machine) say(t *testing.T, command string) string {
	t.Helper()
	if _, err := fmt.Fprintln(m.monitor, command); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	buf := make([]byte, 4096)
	prompts := 0
	for prompts < 1 || !bytes.Contains(answer, []byte(command)) {
		n, err := m.monitor.Read(buf)
		if err != nil {
			t.Fatalf("monitor: %v", err)
		}
		answer = append(answer, buf[:n]...)
		if i := bytes.Index(answer, []byte(command)); i >= 0 {
			prompts = bytes.Count(answer[i:], []byte("(qemu) "))
		}
	}
	return string(answer)
}

var forwarding = regexp.MustCompile(`HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)`)

// shell returns a connection on which the guest's SSH server has begun to
// talk. QEMU accepts connections before the guest does, and then repeats its
// SYN only after seconds: so a silent connection is given up soon.
func (m *machine) shell(t *testing.T) net.Conn {
	t.Helper()
	found := forwarding.FindStringSubmatch(m.say(t, "info usernet"))
	if found == nil {
		t.Fatal("info usernet shows no forwarded port")
	}
	var conn net.Conn
	began := time.Now()
	eventually(t, 3*time.Minute, "the guest's SSH server", func() (err error) {
		if conn, err = net.Dial("tcp", "127.0.0.1:"+found[1]); err != nil {
			return err
		}
		begun := &begunConn{Conn: conn, first: make([]byte, 1)}
		patience := max(200*time.Millisecond, time.Since(began)/8) // a slow guest also takes longer to answer
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err = conn.Read(begun.first); err != nil {
			conn.Close()
			return err
		}
		_ = conn.SetReadDeadline(time.Time{})
		conn = begun
		return nil
	})
	return conn
}

// begunConn gives the first byte back.
type begunConn struct {
	net.Conn
	first []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func credentials(password string) guest.Credentials {
	return guest.Credentials{Username: jeos.Username, Password: host.Secret(password), Prompt: regexp.MustCompile(jeos.ShellPrompt)}
}

func (m *machine) login(t *testing.T) *guest.Session {
	t.Helper()
	s, err := guest.SSH(t.Context(), m.shell(t), credentials(jeos.Password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// client logs in without a shell.
func (m *machine) client(t *testing.T) *ssh.Client {
	t.Helper()
	conn, channels, requests, err := ssh.NewClientConn(m.shell(t), "guest", &ssh.ClientConfig{
		User: jeos.Username, Auth: []ssh.AuthMethod{ssh.Password(jeos.Password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := ssh.NewClient(conn, channels, requests)
	t.Cleanup(func() { c.Close() })
	return c
}

func (m *machine) waitExit(t *testing.T) {
	t.Helper()
	select {
	case <-m.exited:
	case <-time.After(time.Minute):
		t.Fatal("the guest has not switched off in a minute")
	}
}

// want runs a command and matches its output.
func want(t *testing.T, s *guest.Session, command, pattern string) {
	t.Helper()
	out, err := s.Cmd(t.Context(), command, 30*time.Second)
	if err != nil || !regexp.MustCompile(pattern).MatchString(out) {
		t.Errorf("%s: got %q, %v; want %q", command, out, err, pattern)
	}
}

func TestGuest(t *testing.T) {
	m := boot(t, "")
	s := m.login(t)
	took, cpu := time.Since(m.booted), m.cpuTime(t)
	t.Logf("SSH login %.2f s after the start of QEMU, which used %.2f s of CPU", took.Seconds(), cpu.Seconds())
	if cpu > 30*time.Second { // 3 s alone, 9 s have been seen on a busy machine
		t.Errorf("SSH login took QEMU %v of CPU", cpu)
	}

	t.Run("system", func(t *testing.T) {
		want(t, s, "hostname", "^jeos\n$")
		want(t, s, "ip -4 addr show eth0", `inet 10\.0\.2\.15/24`)
		want(t, s, "echo $HOME $USER $PATH; pwd", "^/root root /bin:/sbin\n/root\n$")
		want(t, s, "free -m", "Mem:")
	})
	t.Run("memory", func(t *testing.T) { testMemory(t, s) })
	t.Run("seed's commands", func(t *testing.T) {
		if err := s.Sendline(t.Context(), "nohup dd if=/dev/zero of=/dev/null &"); err != nil {
			t.Fatal(err)
		}
		want(t, s, "killall -0 dd", "")
		other := m.login(t)
		want(t, other, "killall -9 dd", "")
		// The shell must live on when its child dies, although its echo is off.
		want(t, s, "killall -0 dd || echo gone", "gone\n")
		// On a busy machine the shell takes its time to become the command.
		want(t, s, "(sleep 0.4; exec dd if=/dev/zero of=/dev/null) & killall -0 dd && killall dd", "")
		want(t, s, "killall -0 dd; echo $?", "^killall: dd: no process killed\n1\n$")
		want(t, s, "sleep 0.1 & wait; echo alive", "alive\n$")
	})
	t.Run("memory workload", func(t *testing.T) {
		want(t, s, "memwork start --size 32M --rate 20M", "memwork: started: 8192 pages, 1 passes")
		want(t, m.login(t), "memwork check", "memwork: OK: every page verified; 8192 pages")
		want(t, s, "killall -9 memwork; sleep 0.2; memwork check; echo $?", "the worker died: it left no message.*\n1\n$")
		want(t, s, "memwork start --size 1M; memwork stop", "stopped")
	})
	t.Run("out of memory", func(t *testing.T) { testShortage(t, m, s) })
	t.Run("disk workload", func(t *testing.T) {
		want(t, s, "diskwork start --device /dev/vda --size 16M --rate 10M", "diskwork: started: 4096 pages")
		want(t, s, "diskwork check", "diskwork: OK: every page verified")
		want(t, s, "dd if=/dev/zero of=/dev/vda bs=4096 seek=9 count=1 conv=fsync 2>/dev/null; diskwork check; echo $?",
			"FAILED.* page 9: expected generation .*, holds all zeros.*\n1\n$")
		want(t, s, "diskwork stop", "stopped")
	})
	t.Run("commands without terminal", func(t *testing.T) { testExec(t, m.client(t)) })
	t.Run("terminals", func(t *testing.T) { testTerminals(t, m.client(t)) })
	t.Run("serial console", func(t *testing.T) {
		var log bytes.Buffer
		console := guest.NewConsole(m.dial(t, "serial"), &log)
		defer console.Close()
		serial, err := console.Login(t.Context(), credentials(jeos.Password))
		if err != nil {
			t.Fatal(err)
		}
		want(t, serial, "tty; hostname", "^/dev/ttyS0\njeos\n$")
		_ = console.Close() // it has written all to the log then
		if bytes.ContainsRune(log.Bytes(), '\x1b') {
			t.Errorf("the console shows escape sequences: %q", log.String())
		}
	})
	t.Run("clock", func(t *testing.T) {
		testClock(t, m)
		// A thread of the runtime's with a worse priority would be waited for in a loop that keeps it from running.
		want(t, s, `for f in /proc/$(pidof clockwork)/task/*/stat; do set -- $(cat $f); printf '%s,' ${19}; done; echo`, `^(-20,){2,}\n$`)
	})
	t.Run("power button", func(t *testing.T) {
		want(t, s, "i=0; until pidof acpid >/dev/null || [ $i -gt 100 ]; do sleep 0.1; i=$((i+1)); done; pidof acpid", `^\d+\n$`)
		m.say(t, "system_powerdown")
		m.waitExit(t)
	})
}

// leastAvailable is what a guest of 128 MiB leaves for workloads.
const leastAvailable = 60 << 10 // KiB

// testMemory looks at what the guest takes for itself. What the kernel calls
// available may not be: memory that is free counts as well.
func testMemory(t *testing.T, s *guest.Session) {
	want(t, s, "booted; ls /run/booted", "^/run/booted\n$")
	kib := func(name string) (n int) {
		out, err := s.Cmd(t.Context(), "grep ^"+name+": /proc/meminfo", 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(out, name+": %d kB", &n); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		return n
	}
	available, free := kib("MemAvailable"), kib("MemFree")
	t.Logf("of %d MiB, %.1f MiB are available, %.1f MiB free", jeos.MemoryMiB, float64(available)/1024, float64(free)/1024)
	if min(available, free) < leastAvailable {
		t.Errorf("of %d MiB, %d KiB are available and %d KiB free; want %d at least", jeos.MemoryMiB, available, free, leastAvailable)
	}
}

// testShortage lets work meet the end of the guest's memory: it is told as such,
// by the command and by the kernel on the console, and the guest goes on.
func testShortage(t *testing.T, m *machine, s *guest.Session) {
	var shown syncBuffer
	console := guest.NewConsole(m.dial(t, "serial"), &shown)
	defer console.Close()
	want(t, s, "memwork start --size 100M; echo $?", `(?s)memwork: the guest has only \d+ MiB of memory available.*param mem.*\n3\n$`)
	want(t, s, "memwork start --size 48M --rate 20M", "memwork: started")
	// A file in memory: half of the guest's is allowed for it, and no process is
	// larger than memwork that could be killed.
	want(t, s, "dd if=/dev/zero of=/dev/shm/file bs=1M 2>&1; rm -f /dev/shm/file; memwork check; echo $?",
		`(?s)memwork: the worker died: the guest ran out of memory and killed it \(Out of memory: Killed process \d+ \(memwork\).*param mem.*\n3\n$`)
	eventually(t, time.Minute, "the kernel's words on the console", func() error {
		if !strings.Contains(shown.String(), "Out of memory: Killed process") {
			return fmt.Errorf("it shows %q", shown.String())
		}
		return nil
	})
	want(t, s, "memwork start --size 1M; memwork stop", "stopped")
}

// syncBuffer is a buffer that another goroutine writes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestLeastMemory: what mhmig refuses to go below is enough to be logged in to.
func TestLeastMemory(t *testing.T) {
	m := bootWith(t, jeos.LeastMemoryMiB, "")
	want(t, m.login(t), "memwork start --size 4M; memwork check; memwork stop", "OK: every page verified")
}

// testClock reads the guest's stamps, twice: in between nobody listens.
func testClock(t *testing.T, m *machine) {
	const span, n = time.Second, 100
	cost := func() (share float64) {
		before, began := m.cpuTime(t), time.Now()
		<-time.After(span)
		return 100 * float64(m.cpuTime(t)-before) / float64(time.Since(began))
	}
	silent := cost()
	var last clockwork.Stamp
	for range 2 {
		port := m.dial(t, "clock")
		lines := bufio.NewScanner(port)
		for i := range n {
			if !lines.Scan() {
				t.Fatalf("after %d stamps: %v", i, lines.Err())
			}
			s, ok := clockwork.Parse(lines.Bytes())
			if !ok {
				t.Fatalf("got %q", lines.Text())
			}
			if last.Life != 0 && (s.Life != last.Life || s.Seq <= last.Seq || s.Time < last.Time+clockwork.Period) {
				t.Errorf("got %+v after %+v", s, last)
			}
			last = s
		}
		_ = port.Close()
	}
	port := m.dial(t, "clock")
	drained := make(chan int64)
	go func() { // ends with the port
		got, _ := io.Copy(io.Discard, port)
		drained <- got
	}()
	stamping := cost()
	_ = port.Close()
	t.Logf("QEMU uses %.0f %% of a CPU while nobody listens, %.0f %% while the guest stamps; %d bytes in %v", silent, stamping, <-drained, span)
}

// testExec runs single commands, as ssh guest command does.
func testExec(t *testing.T, c *ssh.Client) {
	tests := []struct {
		name, command, stdin string
		stdout, stderr       string
		status               int
	}{
		{name: "streams", command: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		{name: "status", command: "exit 3", status: 3},
		{name: "signal", command: "kill -9 $$", status: 128 + 9},
		{name: "input", command: "tr a-z A-Z", stdin: "hello", stdout: "HELLO"},
		{name: "many bytes", command: "yes 0123456789 | head -n 100000", stdout: strings.Repeat("0123456789\n", 100000)},
		{name: "background child holds the output", command: "sleep 60 & echo done", stdout: "done\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var stdout, stderr bytes.Buffer
			s.Stdin, s.Stdout, s.Stderr = strings.NewReader(tt.stdin), &stdout, &stderr
			err = s.Run(tt.command)
			status := 0
			var exit *ssh.ExitError
			if errors.As(err, &exit) {
				status, err = exit.ExitStatus(), nil
			}
			if err != nil || stdout.String() != tt.stdout || stderr.String() != tt.stderr || status != tt.status {
				t.Errorf("%s: got %.100q, %q, status %d, %v", tt.command, stdout.String(), stderr.String(), status, err)
			}
		})
	}
}

// testTerminals logs in on terminals: dumb ones, whose shell may have been kept
// ready, and others.
func testTerminals(t *testing.T, c *ssh.Client) {
	for _, name := range []string{"dumb", "dumb", "xterm"} {
		t.Run(name, func(t *testing.T) {
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var out bytes.Buffer
			s.Stdout, s.Stdin = &out, strings.NewReader("stty size; echo $TERM; tty; printf 'a\\r\\nb\\n'; exit 5\n")
			if err := s.RequestPty(name, 33, 111, ssh.TerminalModes{ssh.ECHO: 0, ssh.OPOST: 0}); err != nil {
				t.Fatal(err)
			}
			if err := s.Shell(); err != nil {
				t.Fatal(err)
			}
			var exit *ssh.ExitError
			if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 5 {
				t.Errorf("shell ended with %v, want status 5", err)
			}
			// A shell that was ready has shown its prompt before the modes were set.
			want := regexp.MustCompile(`^/root # 33 111\n` + name + `\n/dev/pts/\d+\na\r\nb\n$`)
			if !want.MatchString(out.String()) {
				t.Errorf("got %q, want %s", out.String(), want)
			}
		})
	}
	t.Run("hang up", func(t *testing.T) {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RequestPty("vt100", 24, 80, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Start("exec sleep 1234"); err != nil {
			t.Fatal(err)
		}
		const find = "ps | grep -c '[s]leep 1234'"
		output := func(command string) string {
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			out, _ := s.Output(command) // grep -c fails when it counts none
			return strings.TrimSpace(string(out))
		}
		eventually(t, time.Minute, "the command", func() error {
			if got := output(find); got != "1" {
				return fmt.Errorf("%s commands run", got)
			}
			return nil
		})
		s.Close()
		eventually(t, time.Minute, "the hang-up", func() error {
			if got := output(find); got != "0" {
				return fmt.Errorf("%s commands run", got)
			}
			return nil
		})
	})
}

// TestDevices boots the guest's packed kernel with two processors, two CD-ROM drives
// and two cards.
func TestDevices(t *testing.T) {
	const content = "what is on the disc\n"
	disc := filepath.Join(t.TempDir(), "disc.iso")
	if err := os.WriteFile(disc, isoImage(content), 0o600); err != nil {
		t.Fatal(err)
	}
	m := bootWith(t, jeos.MemoryMiB, "", "-kernel", jeostest.Image(t).BzImage, "-smp", "2", "-cpu", "max",
		"-drive", "if=none,id=disc,format=raw,readonly=on,file="+disc, "-device", "ide-cd,id=cd1,drive=disc",
		"-device", "virtio-scsi-pci", "-device", "scsi-cd,id=cd2",
		"-netdev", "user,id=n2", "-device", "vmxnet3,netdev=n2,romfile=")
	s := m.login(t)
	want(t, s, "booted; ls /run/booted", "^/run/booted\n$")
	t.Run("CD-ROM", func(t *testing.T) { testCDROM(t, m, s, content) })
	t.Run("processors", func(t *testing.T) {
		want(t, s, "cpuwork start", "^cpuwork: started: 2 threads, .* rounds of 8 computations; CPU with .* AES ")
		want(t, s, "cpuwork check", "^cpuwork: OK: every result was right; 2 threads, ")
		want(t, s, "nproc; echo 0 >/sys/devices/system/cpu/cpu1/online; nproc; cpuwork check", "(?s)^2\n1\ncpuwork: OK: ")
		want(t, s, "echo 1 >/sys/devices/system/cpu/cpu1/online; nproc; cpuwork stop", "(?s)^2\ncpuwork: stopped: ")
	})
	t.Run("suspend to RAM", func(t *testing.T) {
		want(t, s, "(sleep 0.5; echo mem >/sys/power/state) >/dev/null 2>&1 & echo soon", "^soon\n$")
		eventually(t, time.Minute, "the guest", func() error {
			if status := m.say(t, "info status"); !strings.Contains(status, "paused (suspended)") {
				return errors.New(status)
			}
			return nil
		})
		m.say(t, "system_wakeup")
		want(t, s, "nproc; cpuwork start; cpuwork check; cpuwork stop", "(?s)^2\n.*cpuwork: OK: ")
	})
	t.Run("no crash kernel", func(t *testing.T) {
		want(t, s, "crashkernel load; echo $?", "the guest's kernel has kept no memory for it; .*\n1\n$")
	})
	t.Run("driver unloaded and loaded", func(t *testing.T) {
		want(t, s, "for i in 1 2 3; do modprobe -r vmxnet3; ls /sys/class/net; modprobe vmxnet3; ls -d /sys/class/net/eth1; done", "^(eth0\\s+lo\n/sys/class/net/eth1\n){3}$")
	})
	t.Run("device plugged in", func(t *testing.T) {
		want(t, s, "lsmod | grep -c ^virtio_rng || true", "^0\n$")
		m.say(t, "device_add virtio-rng-pci")
		want(t, s, "i=0; until lsmod | grep ^virtio_rng || [ $i -gt 100 ]; do sleep 0.1; i=$((i+1)); done", "^virtio_rng ")
	})
}

// testCDROM uses a drive on IDE that has a disc, and one on virtio-scsi that is empty.
func testCDROM(t *testing.T, m *machine, s *guest.Session, content string) {
	// Which of them is sr0 depends on which controller's driver was loaded first.
	out, err := s.Cmd(t.Context(), "grep -l DVD /sys/block/sr*/device/model; for d in /dev/sr?; do echo $d $(cdrom status --device $d); done", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(/dev/sr\d) disc\n`).FindStringSubmatch(out)
	if found == nil || !regexp.MustCompile(`/dev/sr\d (no-disc|tray-open)\n`).MatchString(out) {
		t.Fatalf("got %q, want a drive with a disc and an empty one", out)
	}
	device := " --device " + found[1]
	want(t, s, "mount "+found[1]+" /mnt && cat /mnt/*; cdrom eject"+device+"; umount /mnt", regexp.QuoteMeta(content)+"cdrom: eject .*: device or resource busy")
	want(t, s, "cdrom lock"+device+" && cdrom eject"+device+"; echo $?", "cdrom: eject .*: device or resource busy: the tray is locked.*\n1\n$")
	if got := m.say(t, "info block"); !strings.Contains(got, "Removable device: locked, tray closed") {
		t.Errorf("locked by the guest, QEMU says %q", got)
	}
	want(t, s, "cdrom unlock"+device+" && cdrom eject"+device+" && cdrom status"+device, "^tray-open\n$")
	if got := m.say(t, "info block"); !strings.Contains(got, "tray open") {
		t.Errorf("ejected by the guest, QEMU says %q", got)
	}
	want(t, s, "cdrom close"+device+" && cdrom status"+device, "^disc\n$")
}

// isoImage is a disc with one file in an ISO 9660 file system.
func isoImage(content string) []byte {
	const sector, root = 2048, 18
	both := func(n uint32) []byte { // in both byte orders
		return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, n), n)
	}
	record := func(name string, at, size uint32, flags byte) []byte {
		r := append([]byte{0, 0}, both(at)...)
		r = append(append(r, both(size)...), 126, 1, 1, 0, 0, 0, 0, flags, 0, 0, 1, 0, 0, 1, byte(len(name)))
		r = append(r, name...)
		r = append(r, make([]byte, len(r)%2)...)
		r[0] = byte(len(r))
		return r
	}
	image := make([]byte, (root+2)*sector)
	volume := image[16*sector:]
	copy(volume, "\x01CD001\x01")
	copy(volume[80:], both(root+2))                                        // sectors
	copy(volume[120:], "\x01\x00\x00\x01\x01\x00\x00\x01\x00\x08\x08\x00") // one volume, the first, of blocks of 2048
	copy(volume[156:], record("\x00", root, sector, 2))
	copy(image[17*sector:], "\xffCD001\x01")
	copy(image[root*sector:], slices.Concat(record("\x00", root, sector, 2), record("\x01", root, sector, 2), record("FILE.;1", root+1, uint32(len(content)), 0)))
	copy(image[(root+1)*sector:], content)
	return image
}

func TestGuestParams(t *testing.T) {
	m := boot(t, "mhmig.password=s3cret mhmig.hostname=vm7 mhmig.ip=10.0.2.15/16 mhmig.gateway=10.0.2.2")
	if _, err := guest.SSH(t.Context(), m.shell(t), credentials(jeos.Password)); !errors.Is(err, guest.ErrRefused) {
		t.Errorf("login with the default password: got %v, want it refused", err)
	}
	s, err := guest.SSH(t.Context(), m.shell(t), credentials("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want(t, s, "hostname; ip -4 addr show eth0; ip route", `(?s)^vm7\n.*inet 10\.0\.2\.15/16.*default via 10\.0\.2\.2`)

	console := guest.NewConsole(m.dial(t, "serial"), nil)
	defer console.Close()
	serial, err := console.Login(t.Context(), credentials("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	if err := serial.Sendline(t.Context(), "poweroff"); err != nil {
		t.Fatal(err)
	}
	m.waitExit(t)
}
