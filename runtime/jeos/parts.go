// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// parts are what every version of the image shares: the kernel, its modules,
// busybox and the shell, unpacked and stripped.
type parts struct {
	ID      string   // hash of the files
	Release string   // the kernel's
	Modules []string // names of the .ko files, each after those that it depends on
	Applets []string // of busybox
	Shell   []string // the guest's paths of the shell's libraries, files shell.0 and so on
	From    []string // packages or paths, for information
	dir     string
}

func (p parts) kernel() string          { return p.file("vmlinux") }
func (p parts) bzImage() string         { return p.file("bzimage") }
func (p parts) file(name string) string { return filepath.Join(p.dir, name) }

// drivers are the modules that the guest must have, besides what they depend on:
// those of QEMU's virtio devices, and of the power button that system_powerdown
// presses. In the userland, etc/rc loads what a login needs, etc/rc.late what else the
// VM's devices ask for, and etc/hotplug what a device asks for that is plugged in.
var drivers = []string{
	"virtio_pci", "virtio_net", "virtio_blk",
	"virtio_console", "virtio_scsi", "sd_mod", "virtio_balloon", "virtio_rng", "button", "evdev",
}

// extraDrivers are for other devices that a config may give a VM. The guest has those
// which the kernel has: Debian's cloud kernel has none for AHCI, and for Intel's and
// Realtek's network cards.
var extraDrivers = []string{
	"pvpanic_mmio",                        // by which QEMU learns that the guest has panicked
	"ata_piix", "ahci", "sr_mod", "isofs", // CD-ROM drives and their discs
	"vmxnet3", "e1000", "e1000e", "8139cp", // network cards besides virtio
}

// recipe identifies how parts are made. Increase its number when this file changes the
// content of the folder.
var recipe = fmt.Sprint(3, drivers, extraDrivers, kernelPackage, userlandPackages)

// PartsDir is the folder of the unpacked files of the distribution, below jeos in
// mhmig's cache. Versions of mhmig that make other ones have another folder, so that
// they can be used side by side.
var PartsDir = fmt.Sprintf("parts-%.4x", sha256.Sum256([]byte(recipe)))

// findParts returns the parts in the cache.
func findParts(cacheDir string) (parts, error) {
	p := parts{dir: filepath.Join(cacheDir, PartsDir)}
	if err := readJSON(filepath.Join(p.dir, "parts.json"), &p); err != nil {
		return parts{}, err
	}
	markUsed(p.dir)
	return p, nil
}

// sources are where parts come from.
type sources struct {
	kernel, modules, busybox, shell string // paths
	root                            string // where the paths of the shell's libraries begin
	from                            []string
}

// makeParts fetches the packages, or takes the files that the options name, and puts
// the files for the guest into the cache.
func makeParts(ctx context.Context, o Options) (parts, error) {
	tmp, err := os.MkdirTemp(o.CacheDir, "new-")
	if err != nil {
		return parts{}, err
	}
	defer os.RemoveAll(tmp)

	src := sources{
		kernel: o.Kernel, modules: o.Modules, busybox: o.Busybox, shell: o.Shell, root: "/",
		from: []string{o.Kernel, o.Modules, o.Busybox, o.Shell},
	}
	if o.Kernel == "" {
		if src, err = fetchPackages(ctx, filepath.Join(tmp, "packages"), o.Logger); err != nil {
			return parts{}, fmt.Errorf("fetch the guest's packages: %w", err)
		}
	}
	p := parts{dir: filepath.Join(tmp, PartsDir), From: src.from}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return parts{}, err
	}
	if err := p.addKernel(o, src.kernel); err != nil {
		return parts{}, err
	}
	if err := p.addModules(ctx, o, src.modules); err != nil {
		return parts{}, err
	}
	if err := p.addBusybox(ctx, src.busybox); err != nil {
		return parts{}, err
	}
	if err := p.addShell(src.shell, src.root); err != nil {
		return parts{}, err
	}
	if p.ID, err = p.hash(); err != nil {
		return parts{}, err
	}
	if err := writeJSON(filepath.Join(p.dir, "parts.json"), p); err != nil {
		return parts{}, err
	}
	place := filepath.Join(o.CacheDir, PartsDir)
	if err := os.RemoveAll(place); err != nil {
		return parts{}, err
	}
	if err := os.Rename(p.dir, place); err != nil {
		return parts{}, err
	}
	p.dir = place
	return p, nil
}

// addKernel stores the kernel as it is, and unpacked if QEMU can start that.
func (p parts) addKernel(o Options, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the kernel: %w", err)
	}
	kernel, err := vmlinux(content)
	if err == nil {
		err = checkPVH(kernel)
	}
	if err != nil {
		o.Logger.Info("cannot boot the kernel uncompressed, which would be faster", "kernel", path, "reason", err)
		kernel = content
	}
	if err := os.WriteFile(p.bzImage(), content, 0o644); err != nil {
		return err
	}
	return os.WriteFile(p.kernel(), kernel, 0o644)
}

// checkPVH looks for the ELF note with the PVH entry point, which QEMU needs to start
// an uncompressed kernel.
func checkPVH(kernel []byte) error {
	const physEntry32 = 18 // XEN_ELFNOTE_PHYS32_ENTRY
	f, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		return err
	}
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_NOTE {
			continue
		}
		notes := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(notes, 0); err != nil {
			return err
		}
		for len(notes) >= 12 {
			nameSize, descSize := f.ByteOrder.Uint32(notes), f.ByteOrder.Uint32(notes[4:])
			kind := f.ByteOrder.Uint32(notes[8:])
			size := 12 + (int(nameSize)+3)&^3 + (int(descSize)+3)&^3
			if size > len(notes) {
				break
			}
			if kind == physEntry32 && bytes.HasPrefix(notes[12:], []byte("Xen\x00")) {
				return nil
			}
			notes = notes[size:]
		}
	}
	return errors.New("kernel has no PVH entry")
}

// addBusybox also runs busybox --list for its applets.
func (p *parts) addBusybox(ctx context.Context, path string) error {
	prog, err := loadExecutable(path, "/")
	if err != nil {
		return fmt.Errorf("read busybox: %w", err)
	}
	if len(prog.libraries) > 0 {
		return fmt.Errorf("%s needs %s; give a static busybox", path, prog.libraries[0].path)
	}
	out, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of %s: %w", path, err)
	}
	p.Applets = strings.Fields(string(out))
	return os.WriteFile(p.file("busybox"), prog.content, 0o644)
}

// addShell adds the guest's /bin/sh. It is not busybox's, because that one exits as
// if its terminal were closed when a child dies while echo is off, and with echo on
// queries the cursor position from the terminal.
func (p *parts) addShell(path, root string) error {
	prog, err := loadExecutable(path, root)
	if err != nil {
		return fmt.Errorf("read the shell: %w", err)
	}
	for i, l := range prog.libraries {
		p.Shell = append(p.Shell, l.path)
		if err := os.WriteFile(p.shellLibrary(i), l.content, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(p.file("shell"), prog.content, 0o644)
}

func (p parts) shellLibrary(i int) string { return p.file(fmt.Sprintf("shell.%d", i)) }

// hash identifies the parts by their content.
func (p parts) hash() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, p.Release, p.Modules, p.Shell)
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		content, err := os.ReadFile(p.file(e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %x\n", e.Name(), sha256.Sum256(content))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
