// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/qmp"
)

// A saved state is a file with the stream of a migration: all that a guest is, its
// disks aside. It fits only a VM that is the same in all that its guest can see. Disks that
// mhmig makes blank for each run are as they were then; overlays on an installed guest's
// image are not, so copies of those that were made with the state are kept beside it.

// saveTimeout is for saving a guest's state or loading it: 100 MiB take a second.
const saveTimeout = 60 * time.Second

// Save stops the guest and writes its state into a file on the host. QEMU is then to be
// ended: it takes its guest for one that has moved away.
func (i *Instance) Save(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, saveTimeout, fmt.Errorf("not saved within %s", saveTimeout))
	defer cancel()
	if err := i.Stop(ctx); err != nil {
		return err
	}
	if err := i.transfer(ctx, "migrate", "exec:cat >"+shellescape.Quote(file)); err != nil {
		return fmt.Errorf("%s on %s: save its state: %w", i.config.Name, i.placement.Host.Name(), err)
	}
	return nil
}

// restore loads a guest's state. The guest is paused then.
func (i *Instance) restore(ctx context.Context, file string) error {
	if err := i.transfer(ctx, "migrate-incoming", "exec:cat "+shellescape.Quote(file)); err != nil {
		return fmt.Errorf("restore its state: %w", err)
	}
	status, err := i.Status(ctx)
	if err == nil && status != "paused" {
		err = fmt.Errorf("restore its state: the guest is %s then, want paused", status)
	}
	return err
}

// transfer moves a state by one of QEMU's commands, and waits until it has moved. It
// leaves QEMU's migration settings as it found them.
func (i *Instance) transfer(ctx context.Context, command, uri string) error {
	events := i.monitor.Subscribe("MIGRATION")
	defer events.Close()
	if err := i.migrationEvents(ctx, true); err != nil {
		return err
	}
	arguments := map[string]any{"uri": uri}
	if err := i.monitor.Execute(ctx, command, arguments, nil); err != nil {
		return err
	}
	for {
		select {
		case e, open := <-events.C:
			switch status := e.MigrationStatus(); {
			case !open:
				return qmp.ErrGone
			case status == qmp.MigrationCompleted:
				return i.migrationEvents(ctx, false)
			case status == qmp.MigrationFailed || status == qmp.MigrationCancelled:
				return fmt.Errorf("%s: %s", command, status)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (i *Instance) migrationEvents(ctx context.Context, on bool) error {
	capabilities := []map[string]any{{"capability": "events", "state": on}}
	return i.monitor.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": capabilities}, nil)
}

// Identity is a text about all that a guest's saved state depends on, but for what the
// VM's host and files are: two VMs with the same text have guests that can see no
// difference. The error says why the state of such a VM cannot be saved and used again.
func Identity(c Config, shape Shape, launch Launch) (string, error) {
	if err := canRestore(c); err != nil {
		return "", err
	}
	// The folders and files of a run are not the guest's.
	placement := Placement{RunDir: "/run", ImageDir: "/images", ShippedDir: "/shipped", BaseDir: "/base"}
	if c.Kernel != "" {
		c.Kernel = "/kernel"
	}
	if c.Initrd != "" {
		c.Initrd = "/initrd"
	}
	launch.Restore = ""
	spec, err := CommandLine(c, placement, shape, launch)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, argument := range spec.Argv {
		b.WriteString(shellescape.Quote(argument) + "\n")
	}
	for _, d := range c.disks() {
		if d.create {
			fmt.Fprintf(&b, "disk %s: an empty %s of %d bytes\n", d.name, d.format, d.size)
		}
	}
	return b.String(), nil
}

// IsJeOS says whether the VM's guest is JeOS, by what its kernel is told.
func (c *Config) IsJeOS() bool {
	return c.Kernel != "" && c.Initrd != "" && strings.HasPrefix(c.KernelParams, jeos.KernelParams)
}

// canRestore says why a VM's guest cannot be restored from a saved state, nil if it
// can: mhmig must be able to make its disks as they were, and to tell the guest of it, by
// the port for its clock or a login.
func canRestore(c Config) error {
	rest := strings.Fields(strings.TrimPrefix(c.KernelParams, jeos.KernelParams))
	switch {
	case c.IsJeOS() && slices.ContainsFunc(rest, func(word string) bool { return !strings.HasPrefix(word, "mhmig.") }):
		return fmt.Errorf("kernel_params has more than JeOS knows: %s", strings.Join(rest, " "))
	case len(c.Extra) > 0:
		return errors.New("extra_params: mhmig does not know what they add")
	case !c.Login.NIC:
		return errors.New("it has no NIC")
	case !c.IsJeOS() && !c.HasInstalledDisk():
		return errors.New("its guest is neither JeOS nor installed on a disk")
	}
	clock := false
	for _, device := range c.Devices {
		switch d := device.(type) {
		case clockPort:
			clock = true
		case *disk:
			switch {
			case !d.overlay:
				return fmt.Errorf("disk %s is written to without an overlay", d.name)
			case d.device && !d.create:
				return fmt.Errorf("disk %s is on a device, which may have changed since", d.name)
			}
		case *nic:
			if d.mode == "tap" && !c.IsJeOS() {
				return fmt.Errorf("NIC %s: a network gives the guest an address for a while only", d.name)
			}
		case *cdrom:
			return fmt.Errorf("CD-ROM drive %s: its disc may be another one the next time", d.name)
		case *floppy, floppyController:
			return errors.New("it has a floppy drive, whose disk may be another one the next time")
		}
	}
	if c.IsJeOS() && !clock {
		return errors.New("guest_clock = no: without the port nobody can tell the guest that it was restored")
	}
	return nil
}

// identifyFiles prints what tells one build of a QEMU's release from another, the program
// %[1]s, and what a file holds, for each file behind it: a checksum that finds a changed
// file, as nobody forges one here.
const identifyFiles = `
qemu=$(command -v -- %[1]s) || exit 127
stat -L -c '%%s bytes, made %%y' -- "$qemu"
for file in %[2]s; do cksum <"$file" || exit; done
[ %[3]s != kvm ] || { uname -r; grep -m 3 -E '^(model name|flags|microcode)' /proc/cpuinfo; }
`

// IdentifyHost is a text about all that a guest's saved state depends on which is the
// host's: QEMU's build, kernel and initrd, and the disk of mhmig's own guest; under KVM
// also the host's kernel and processor. It is asked once for each host, binary and files.
func (c *Cache) IdentifyHost(ctx context.Context, placement Placement, config Config, accel string) (string, error) {
	var files []string
	for _, value := range []string{config.Kernel, config.Initrd} {
		if value != "" {
			files = append(files, shellescape.Quote(placement.bootFile(value)))
		}
	}
	for _, d := range config.disks() {
		if ShippedGuest(d.image) != "" {
			files = append(files, shellescape.Quote(d.imagePath(placement)))
		}
	}
	h := placement.Host
	key := cacheKey(h, strings.Join(append([]string{config.QEMU.Command(), accel}, files...), " "))
	return c.identities.get(ctx, key, func(ctx context.Context) (string, error) {
		facts, err := c.Facts(ctx, h, config.QEMU)
		if err != nil {
			return "", err
		}
		out, err := h.Run(ctx, host.Command{
			Script:  fmt.Sprintf(identifyFiles, shellescape.Quote(config.QEMU.Binary), strings.Join(files, " "), accel),
			Timeout: queryTimeout,
		})
		if err != nil {
			return "", fmt.Errorf("%s: identify QEMU and the guest's files: %w", h.Name(), err)
		}
		return facts.Release + "\n" + string(out.Stdout), nil
	})
}

// IdentifyImages is a text about the images on which the VM's overlays are, with their
// backing and data files: each file's path, size, and when it was changed. Files of mhmig's
// own are not among them: see [Cache.IdentifyHost].
func IdentifyImages(ctx context.Context, placement Placement, config Config) (string, error) {
	var b strings.Builder
	h := placement.Host
	for _, d := range config.disks() {
		files := d.files(config.Name, placement)
		if files.base == "" || ShippedGuest(d.image) != "" {
			continue
		}
		below, err := imageFiles(ctx, h, config.QEMUImg, files.base, files.baseFormat)
		if err != nil {
			return "", err
		}
		for _, file := range below {
			script := fmt.Sprintf("[ -f %[1]s ] && stat -L -c 'on %%n, file %%i of %%s bytes, changed %%y' -- %[1]s", shellescape.Quote(file))
			out, err := h.Run(ctx, host.Command{Script: script, Timeout: queryTimeout})
			if err != nil {
				return "", fmt.Errorf("%s: look whether %s is as it was, below disk %s: %w", h.Name(), file, d.name, err)
			}
			fmt.Fprintf(&b, "disk %s: an overlay %s", d.name, out.Stdout)
		}
	}
	return b.String(), nil
}

// RestoreDisks puts copies of the images that were kept with a saved state into the place
// of the VM's. placement is on the host that has them, in the folder dir.
func (im *Images) RestoreDisks(ctx context.Context, placement Placement, dir string) error {
	h := placement.Host
	for _, d := range im.config.disks() {
		files := d.files(im.config.Name, placement)
		command := []string{"cp", "--", path.Join(dir, path.Base(files.path)), files.path}
		script := shellescape.QuoteCommand(command)
		if files.base != "" { // at the time of saving it had another path
			script += " && " + shellescape.QuoteCommand([]string{
				im.config.QEMUImg, "rebase", "-u", "-f", files.format, "-F", files.baseFormat, "-b", backingPath(placement, files), files.path,
			})
		}
		if _, err := h.Run(ctx, host.Command{Script: script, Timeout: saveTimeout}); err != nil {
			return fmt.Errorf("%s: restore %s of %s: %w", h.Name(), d.name, im.config.Name, err)
		}
	}
	return nil
}

// Marks are what the file system says of the files that were made: other marks mean
// that somebody has written to one. "" if there are none.
func (im *Images) Marks(ctx context.Context) (string, error) {
	if len(im.created) == 0 {
		return "", nil
	}
	h := im.placement.Host
	out, err := h.Run(ctx, host.Command{Args: append([]string{"stat", "-c", "%n: %s bytes, %b blocks, changed %y", "--"}, im.Paths()...), Timeout: queryTimeout})
	if err != nil {
		return "", fmt.Errorf("%s: look whether the disks are as they were made: %w", h.Name(), err)
	}
	return string(out.Stdout), nil
}
