// SPDX-License-Identifier: Apache-2.0

package bedtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/guest/guesttest"
	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Guest is the guest of a VM with scripted QEMUs. It answers what a bed asks of JeOS: its
// boot ID, its clock, its files, and that it was restored. Its methods may be called
// from any goroutine.
type Guest struct {
	// Password is the password of all users; "" accepts every login.
	Password string
	// BootTime is how long it takes to boot, until when it accepts no login.
	BootTime time.Duration
	// FastBoots is in how many boots, from the first, its clock runs ten times too fast.
	FastBoots int
	// Silent says that it neither sends clock stamps nor confirms that it was restored.
	Silent bool
	// Run answers the other commands; nil: there are none.
	Run func(command string) (output string, status int)

	mu     sync.Mutex // guards what follows
	boots  int
	booted time.Time
	life   uint64 // of its clock stamps
	files  map[string][]byte
}

// Boot begins the next boot.
func (g *Guest) Boot() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.boots++
	g.booted, g.life = time.Now(), uint64(g.boots)
}

// BootID returns the boot ID of the boot of that number, from 1.
func BootID(boot int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", boot) }

// File returns the content of a file that was uploaded.
func (g *Guest) File(name string) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.files[name]
}

func (g *Guest) serveSSH(conn net.Conn) {
	g.mu.Lock()
	booting := time.Since(g.booted) < g.BootTime
	g.mu.Unlock()
	if booting {
		_ = conn.Close()
		return
	}
	server := &guesttest.Guest{Password: g.Password, Run: g.run}
	server.ServeSSH(conn)
}

func (g *Guest) run(c guesttest.Command) (string, int) {
	g.mu.Lock()
	boots, booted := g.boots, g.booted
	g.mu.Unlock()
	if file := transferCommand.FindStringSubmatch(c.Text); file != nil && !c.Shell {
		return g.transfer(file[2], file[1] == "cat >", c.Stdin)
	}
	switch {
	case strings.Contains(c.Text, "/random/boot_id"):
		return BootID(boots) + "\n", 0
	case strings.Contains(c.Text, "/proc/uptime"):
		up := time.Since(booted).Seconds()
		if boots <= g.FastBoots {
			up *= 10
		}
		return fmt.Sprintf("%.2f\n", up), 0
	case strings.HasSuffix(c.Text, "echo settled"):
		if g.FastBoots > 0 {
			<-time.After(time.Second) // by which the clock is wrong
		}
		return "settled\n", 0
	case strings.Contains(c.Text, "EPOCHREALTIME"):
		return fmt.Sprintf("%.6f\n", float64(time.Now().UnixMicro())/1e6), 0
	case g.Run != nil:
		return g.Run(c.Text)
	}
	return "not found\n", 127
}

// transferCommand matches the commands by which files are uploaded and downloaded.
var transferCommand = regexp.MustCompile(`^(cat >|wc -c <)(\S+)`)

// transfer writes a file of the guest, or prints its size and content.
func (g *Guest) transfer(name string, upload bool, stdin io.Reader) (string, int) {
	if !upload {
		content := g.File(name)
		if content == nil {
			return "", 1
		}
		return fmt.Sprintf("%d\n%s", len(content), content), 0
	}
	content, err := io.ReadAll(stdin)
	if err != nil {
		return err.Error(), 1
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.files == nil {
		g.files = map[string][]byte{}
	}
	g.files[name] = content
	return fmt.Sprintln(len(content)), 0
}

// serveClock sends clock stamps while QEMU runs the guest, and confirms that the guest was
// restored.
func (g *Guest) serveClock(process *qmptest.QEMU, conn net.Conn) {
	sent := uint64(0)
	restored := func(life uint64) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.life = life
	}
	guesttest.ServeClock(conn, nil, restored, func() (clockwork.Stamp, bool) {
		sent++
		if g.Silent || process.RunState() != "running" {
			return clockwork.Stamp{}, false
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		return clockwork.Stamp{Life: g.life, Seq: sent, Time: time.Since(g.booted)}, true
	})
}

// savedState is what a scripted QEMU writes as the state of its guest.
var savedState = []byte("the state of a scripted guest")

// startGuest boots the guest of a QEMU that is started, or restores it.
func (i *scriptedQEMU) startGuest(ctx context.Context, launch vm.Launch) error {
	if launch.Incoming {
		return nil
	}
	if launch.Restore == "" {
		i.guest.Boot()
		return nil
	}
	state, err := i.placement.Host.ReadFile(ctx, launch.Restore)
	if err == nil && !bytes.Equal(state, savedState) {
		err = errors.New("restore its state: load of migration failed: Invalid argument")
	}
	return err
}

// Save writes the guest's state to a file of the host.
func (i *scriptedQEMU) Save(ctx context.Context, file string) error {
	if err := i.Stop(ctx); err != nil {
		return err
	}
	return i.placement.Host.WriteFile(ctx, file, savedState, 0o600)
}

// Plug adds a device.
func (i *scriptedQEMU) Plug(ctx context.Context, _, _ vm.Config, _ []string, name string) error {
	return i.monitor.Execute(ctx, "device_add", map[string]any{"id": name}, nil)
}

// Unplug removes a device, and waits until the guest has released it.
func (i *scriptedQEMU) Unplug(ctx context.Context, _ vm.Config, name string) error {
	events := i.monitor.Subscribe("DEVICE_DELETED")
	defer events.Close()
	if err := i.monitor.Execute(ctx, "device_del", map[string]any{"id": name}, nil); err != nil {
		return err
	}
	select {
	case <-events.C:
		return nil
	case <-ctx.Done():
		return errors.Join(vm.ErrNotReleased, context.Cause(ctx))
	}
}
