// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hugelgupf/go-shlex"

	"github.com/mhmig/mhmig/runtime/fake/shell"
)

// kit is what is in a guest: JeOS's own commands, and the files of /proc and /sys that
// scenarios ask for.
type kit struct {
	g *guest

	mu          sync.Mutex // guards what follows
	works       map[string]*work
	damages     map[string]string // of workloads that do not work yet
	modules     map[string]bool   // by name: whether it is loaded
	offline     map[int]bool      // processors
	locked      map[string]bool   // CD-ROM drives, by ID
	nodes       map[string]string // of drives, by ID: vda, sr0, fd0
	crashLoaded bool              // a crash kernel
	dumped      time.Time         // when it crashed; zero: it has not
}

// work is a workload that verifies what it did.
type work struct {
	size, rate int64
	fault      string // "": none
	dead       bool
	process    *shell.Process
}

func newKit(g *guest) *kit {
	return &kit{g: g, damages: map[string]string{}, locked: map[string]bool{}}
}

// The workloads, with what they verify.
var workloads = map[string]string{"memwork": "every page verified", "diskwork": "every page verified", "cpuwork": "every result was right"}

// install puts the kit into a machine that has just booted.
func (k *kit) install(m *shell.Machine) {
	k.mu.Lock()
	k.works, k.offline, k.nodes, k.crashLoaded, k.dumped = map[string]*work{}, map[int]bool{}, map[string]string{}, false, time.Time{}
	k.modules = map[string]bool{"virtio_net": true, "virtio_blk": true, "virtio_balloon": true, "e1000": true, "sr_mod": true, "floppy": true}
	k.mu.Unlock()
	if !k.g.settings.NoKit {
		for name := range workloads {
			m.Programs[name] = func(c *shell.Call) int { return k.workload(name, c) }
		}
		m.Programs["cdrom"] = k.tray
		m.Programs["crashkernel"] = func(*shell.Call) int {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.crashLoaded = true
			return 0
		}
	}
	m.Programs["stress"] = k.stress
	m.Programs["date"] = k.date
	m.Programs["uname"] = uname
	m.Programs["hostname"] = func(c *shell.Call) int { fmt.Fprintln(&c.Stdout, k.g.vm); return 0 }
	m.Programs["rmmod"] = func(c *shell.Call) int { return k.module(c, false) }
	m.Programs["modprobe"] = func(c *shell.Call) int { return k.module(c, true) }
	for _, name := range []string{"reboot", "poweroff"} {
		m.Programs[name] = func(c *shell.Call) int {
			k.g.w.working.Go(k.g.reset) // not in the command, which ends with it
			<-c.Context.Done()
			return 0
		}
	}
	k.files(m.Files)
}

// files are those of /proc and /sys.
func (k *kit) files(f *shell.Files) {
	_ = f.MkdirAll(inMemory) // of a file system that has just been made
	text := func(name string, content func() string) { f.SetText(name, content) }
	text("/proc/sys/kernel/random/boot_id", func() string { return k.g.bootID() + "\n" })
	text("/proc/uptime", func() string { return fmt.Sprintf("%.2f 0.00\n", k.g.uptime().Seconds()) })
	text("/proc/cpuinfo", func() string {
		return "processor\t: 0\nflags\t\t: fpu vme de pse tsc msr pae cx8 apic sep cmov mmx sse sse2 aes\n"
	})
	text("/proc/swaps", func() string { return "Filename\tType\tSize\tUsed\tPriority\n" })
	text("/proc/modules", k.loaded)
	text("/proc/mounts", func() string { return "rootfs / rootfs rw 0 0\n" })
	text("/proc/meminfo", func() string { return "MemTotal: 131072 kB\nMemFree: 81920 kB\nMemAvailable: 81920 kB\n" })
	text("/sys/devices/system/clocksource/clocksource0/current_clocksource", func() string { return k.clockSource() + "\n" })
	text("/sys/kernel/kexec_crash_loaded", func() string {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.crashLoaded {
			return "1\n"
		}
		return "0\n"
	})
	f.SetDevice("/proc/sys/vm/drop_caches", 0o200, command(func(string) {}))
	f.SetDevice("/proc/sysrq-trigger", 0o200, command(func(letter string) {
		if letter == "c" {
			k.g.w.working.Go(k.crashOrPanic)
			<-k.g.lifetime().Done() // nothing of it goes on
		}
	}))
	f.SetDevice("/sys/power/state", 0o600, &switched{read: func() string { return "freeze mem disk\n" }, write: func(state string) {
		if q := k.g.w.current(k.g.vm); q != nil && state == "mem" {
			q.process.Suspend()
		}
	}})
	for n := range k.g.w.cpus(k.g.vm) {
		f.SetDevice(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/online", n), 0o600, k.online(n))
	}
	for _, d := range k.g.w.devices(k.g.vm) {
		k.addDrive(f, d)
	}
}

// crashOrPanic is a crash of the kernel: with a crash kernel, that boots.
func (k *kit) crashOrPanic() {
	k.mu.Lock()
	loaded := k.crashLoaded
	k.mu.Unlock()
	if loaded {
		k.g.crash()
	} else {
		k.g.panics()
	}
}

// crashed is the state of the crash kernel.
func (k *kit) crashed(at time.Time) {
	k.mu.Lock()
	k.dumped = at
	k.mu.Unlock()
	f := k.g.current().Files
	dump := append([]byte("OSRELEASE=6.1.0\n"), make([]byte, 4096)...)
	_ = f.MkdirAll("/var/crash/127.0.0.1")                    // of a file system that has just been made
	_ = f.WriteFile("/var/crash/127.0.0.1/vmcore", dump)      // as above
	f.SetDevice("/proc/vmcore", 0o400, largeDump{head: dump}) // as large as the guest's memory
}

// largeDump is a file of the size of a guest's memory that begins with head.
type largeDump struct{ head []byte }

const dumpBytes = 300 << 20

func (d largeDump) ReadAt(p []byte, offset int64) (int, error) {
	clear(p)
	if offset < int64(len(d.head)) {
		copy(p, d.head[offset:])
	}
	return int(min(int64(len(p)), dumpBytes-offset)), nil
}

func (largeDump) WriteAt([]byte, int64) (int, error) { return 0, fs.ErrPermission }
func (largeDump) Size() int64                        { return dumpBytes }

// command is a file that does something with what is written to it.
type command func(string)

func (command) ReadAt([]byte, int64) (int, error) { return 0, nil }
func (c command) WriteAt(p []byte, _ int64) (int, error) {
	if text := strings.TrimSpace(string(p)); text != "" {
		c(text)
	}
	return len(p), nil
}
func (command) Size() int64 { return 0 }

// switched is a file that is read and written.
type switched struct {
	read  func() string
	write func(string)
}

// ReadAt, WriteAt and Size make it a [shell.Device].
func (s *switched) ReadAt(p []byte, offset int64) (int, error) {
	text := s.read()
	return copy(p, text[min(offset, int64(len(text))):]), nil
}

// WriteAt passes on what is written.
func (s *switched) WriteAt(p []byte, _ int64) (int, error) {
	if text := strings.TrimSpace(string(p)); text != "" {
		s.write(text)
	}
	return len(p), nil
}

// Size is how much there is to read.
func (s *switched) Size() int64 { return int64(len(s.read())) }

func (k *kit) online(n int) shell.Device {
	return &switched{
		read: func() string {
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.offline[n] {
				return "0\n"
			}
			return "1\n"
		},
		write: func(value string) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.offline[n] = value == "0"
		},
	}
}

func (k *kit) clockSource() string {
	if strings.Contains(k.g.w.Options.Params.Object(k.g.vm)["cpu_model_flags"], "-kvmclock") {
		return "tsc"
	}
	return "kvm-clock"
}

func (k *kit) date(c *shell.Call) int {
	for i, a := range c.Args {
		if a != "-s" || i+1 == len(c.Args) {
			continue
		}
		seconds, err := strconv.ParseInt(strings.TrimPrefix(c.Args[i+1], "@"), 10, 64)
		if err != nil {
			return c.Fail("invalid date %s", c.Args[i+1])
		}
		k.g.jump(time.Unix(seconds, 0).Sub(k.g.now()))
		return 0
	}
	return shell.Date(c, k.g.now())
}

func (k *kit) loaded() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var lines []string
	for name, loaded := range k.modules {
		if loaded {
			lines = append(lines, name+" 16384 0 - Live 0x0\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (k *kit) module(c *shell.Call, load bool) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := c.Args[len(c.Args)-1]
	loaded, known := k.modules[name]
	if !known || !load && !loaded {
		return c.Fail("%s: no such module", name)
	}
	k.modules[name] = load
	return 0
}

// maxRate is how many bytes per second a workload without a limit writes.
const maxRate = 400 << 20

// memory is how much memory the workloads use, and write per second.
func (k *kit) memory() (size int64, rate float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, w := range k.works {
		if name != "cpuwork" && name != "diskwork" && !w.dead {
			size += w.size
			rate += float64(w.rate)
		}
	}
	return size, rate
}

// stress is what guests without workloads run: it writes memory until it is killed.
func (k *kit) stress(c *shell.Call) int {
	k.mu.Lock()
	k.works["stress"] = &work{size: 16 << 20, rate: 40 << 20}
	k.mu.Unlock()
	<-c.Context.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.works, "stress")
	return 0
}

// killed is what a workload says that was killed.
const killed = "the worker died: it left no message (killed?)"

// damage damages a workload, or, if it does not work, the one that is started next.
func (k *kit) damage(name, message string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.works[name]; w != nil {
		w.fault = message
	} else {
		k.damages[name] = message
	}
}

// usage is the exit status of a workload that is used in a wrong way.
const usage = 2

func (k *kit) workload(name string, c *shell.Call) int {
	verb := ""
	if len(c.Args) > 1 {
		verb = c.Args[1]
	}
	say := func(status int, format string, args ...any) int {
		fmt.Fprintf(&c.Stdout, name+": "+format+"\n", args...)
		return status
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.works[name]
	if verb != "start" && w == nil {
		return say(usage, "is not running; start it: %s start", name)
	}
	const progress = "8192 pages, 3 passes, 96 MiB written"
	switch verb {
	case "start":
		if w != nil && !w.dead {
			return say(usage, "runs already")
		}
		w, err := parseWork(c.Args[2:])
		if err != nil {
			return say(usage, "%v", err)
		}
		w.fault = k.damages[name]
		delete(k.damages, name)
		w.process = c.Machine.Start(name, func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			w.dead = true
		})
		k.works[name] = w
		return say(0, "started: %s", progress)
	case "check", "status", "stop":
		switch {
		case w.dead:
			return say(1, killed)
		case w.fault == killed:
			return say(1, killed)
		case w.fault != "" && verb != "stop":
			return say(1, "%s; %s", w.fault, progress)
		case verb == "check":
			return say(0, "OK: %s; %s", workloads[name], progress)
		case verb == "status":
			return say(0, "running: %s", progress)
		}
		c.Machine.End(w.process)
		delete(k.works, name)
		return say(0, "stopped: %s", progress)
	}
	return say(usage, "unknown command %q, want start, check, status or stop", verb)
}

// parseWork reads the flags of a workload.
func parseWork(args []string) (*work, error) {
	w := &work{rate: maxRate}
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "--size":
			n, err := bytesOf(args[i+1])
			if err != nil {
				return nil, err
			}
			w.size = n
		case "--rate":
			n, err := bytesOf(args[i+1])
			if err != nil {
				return nil, err
			}
			if n > 0 {
				w.rate = n
			}
		}
	}
	return w, nil
}

// bytesOf parses a size such as 32M.
func bytesOf(text string) (int64, error) {
	unit := int64(1)
	switch {
	case strings.HasSuffix(text, "K"):
		unit = 1 << 10
	case strings.HasSuffix(text, "M"):
		unit = 1 << 20
	case strings.HasSuffix(text, "G"):
		unit = 1 << 30
	}
	n, err := strconv.ParseInt(strings.TrimRight(text, "KMG"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: want a size such as 32M", text)
	}
	return n * unit, nil
}

// tray is JeOS's command cdrom, for the first drive.
func (k *kit) tray(c *shell.Call) int {
	drive := k.g.w.cdrom(k.g.vm)
	if drive == "" || len(c.Args) != 2 {
		return c.Fail("no drive")
	}
	switch c.Args[1] {
	case "lock", "unlock":
		k.mu.Lock()
		defer k.mu.Unlock()
		k.locked[drive] = c.Args[1] == "lock"
	case "eject":
		if k.isLocked(drive) {
			return c.Fail("the tray is locked")
		}
		k.g.w.eject(k.g.vm, drive)
	default:
		return c.Fail("unknown command %s", c.Args[1])
	}
	return 0
}

func (k *kit) isLocked(drive string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locked[drive]
}

// addDrive gives the guest a device node, with the first name that is free.
func (k *kit) addDrive(f *shell.Files, d *driveDevice) {
	k.mu.Lock()
	used := slices.Collect(maps.Values(k.nodes))
	n := 0
	for slices.Contains(used, d.kind.node(n)) {
		n++
	}
	node := d.kind.node(n)
	k.nodes[d.id] = node
	k.mu.Unlock()
	f.SetDevice("/dev/"+node, fs.ModeDevice|0o660, d)
	if d.kind != floppyDrive {
		_ = f.MkdirAll("/sys/block/" + node) // of a file system that has just been made
	}
}

// removeDrive takes a device node away: the guest has released the drive.
func (k *kit) removeDrive(id string) {
	k.mu.Lock()
	node := k.nodes[id]
	delete(k.nodes, id)
	k.mu.Unlock()
	f := k.g.current().Files
	f.SetDevice("/dev/"+node, 0, nil)
	f.RemoveAll("/sys/block/" + node)
}

// commandLine is the line by which package guest runs a command.
var commandLine = regexp.MustCompile(`^printf '<%s%s>\\n' mhb: (\w+) mhb: \w+; command eval (.*); printf '<%s%s%s>\\n' mhe: \w+: \$\?`)

// commandOf returns the command that a line of package guest runs, "" if it runs none.
func commandOf(line string) string {
	found := commandLine.FindStringSubmatch(line)
	if found == nil {
		return ""
	}
	return strings.Join(shlex.Split(found[2]), " ")
}

// reported is the output of such a line.
func reported(line, output string, status int) string {
	nonce := commandLine.FindStringSubmatch(line)[1]
	return "<mhb:" + nonce + ">\n" + output + "<mhe:" + nonce + ":" + strconv.Itoa(status) + ">\n"
}
