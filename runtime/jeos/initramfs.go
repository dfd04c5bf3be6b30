// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/mhmig/mhmig/runtime/jeos/guestd"
)

// initramfs lists what is in the guest:
//
//	/init, /bin/*        links to busybox, which is pid 1 and most commands
//	/bin/sh              the shell
//	/bin/guestd          mhmig's program; memwork and its other commands are links to it
//	/etc                 the userland folder of this package
//	/lib/modules         drivers, and the tables by which modprobe finds them
//	/dev/console, ttyS0  device nodes, so that init can talk before /dev is mounted
//
// The host key is made here: the guest would have to wait for entropy.
func initramfs(p parts, program []byte, small []file) ([]cpio.Record, error) {
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	seed := make([]byte, guestd.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	t := tree{seen: map[string]bool{}}
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", "mnt", "var/log"} {
		t.mkdir(dir)
	}
	t.add(cpio.Directory("tmp", 0o1777))
	t.add(cpio.CharDev("dev/console", 0o600, 5, 1))
	t.add(cpio.CharDev("dev/ttyS0", 0o600, 4, 64))
	t.add(cpio.CharDev("dev/null", 0o666, 1, 3))

	t.file("bin/guestd", 0o755, program)
	for _, name := range guestd.Commands() {
		t.link("bin/"+name, "guestd")
	}
	for _, f := range small {
		t.file(f.path, f.mode, f.content)
	}
	t.file(strings.TrimPrefix(guestd.HostKeyFile, "/"), 0o600, hostKey)
	t.file(strings.TrimPrefix(guestd.SeedFile, "/"), 0o600, seed)

	if err := t.copy(p.file("busybox"), "bin/busybox", 0o755); err != nil {
		return nil, err
	}
	if err := t.copy(p.file("shell"), "bin/sh", 0o755); err != nil {
		return nil, err
	}
	for i, library := range p.Shell {
		if err := t.copy(p.shellLibrary(i), strings.TrimPrefix(library, "/"), 0o755); err != nil {
			return nil, err
		}
	}
	for _, name := range append([]string{modulesDep, modulesAlias}, p.Modules...) {
		if err := t.copy(p.file(name), path.Join("lib/modules", p.Release, name), 0o644); err != nil {
			return nil, err
		}
	}

	t.link("init", "bin/busybox")
	t.link("sbin", "bin")
	t.link("usr/bin", "../bin")
	t.link("usr/sbin", "../bin")
	t.link("var/run", "../run")
	for _, applet := range p.Applets {
		t.link("bin/"+applet, "busybox")
	}
	return t.records, nil
}

// tree collects records; the first of a path is kept, so that our own files override
// busybox's. Folders are added before their contents.
type tree struct {
	records []cpio.Record
	seen    map[string]bool
}

func (t *tree) add(r cpio.Record) {
	if t.seen[r.Name] {
		return
	}
	if dir := path.Dir(r.Name); dir != "." {
		t.mkdir(dir)
	}
	t.seen[r.Name] = true
	t.records = append(t.records, cpio.MakeReproducible(r))
}

func (t *tree) mkdir(name string)        { t.add(cpio.Directory(name, 0o755)) }
func (t *tree) link(name, target string) { t.add(cpio.Symlink(name, target)) }

func (t *tree) file(name string, mode uint64, content []byte) {
	t.add(cpio.StaticFile(name, string(content), mode))
}

func (t *tree) copy(from, name string, mode uint64) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	t.file(name, mode, content)
	return nil
}

func writeArchive(path string, records []cpio.Record) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := cpio.Newc.Writer(f)
	err = cpio.WriteRecords(w, records)
	if err == nil {
		err = cpio.WriteTrailer(w)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
