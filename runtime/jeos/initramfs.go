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
//	/init, /bin/*        links to busybox, which is pid 1 and the shell
//	/bin/guestd          the program; memwork and diskwork are links to it
//	/etc                 the userland folder of this package
//	/lib/modules         drivers, and the order of loading them
//	/dev/console, ttyS0  device nodes, so that init can talk before /dev is mounted
//
// The host key is made here: the guest would have to gather entropy first.
func initramfs(p parts, programPath string, programContent []byte, small []file) ([]cpio.Record, error) {
	prog, err := loadProgram(programPath, programContent)
	if err != nil {
		return nil, err
	}
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	t := tree{seen: map[string]bool{}}
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", "mnt"} {
		t.mkdir(dir)
	}
	t.add(cpio.Directory("tmp", 0o1777))
	t.add(cpio.CharDev("dev/console", 0o600, 5, 1))
	t.add(cpio.CharDev("dev/ttyS0", 0o600, 4, 64))
	t.add(cpio.CharDev("dev/null", 0o666, 1, 3))

	t.file("bin/guestd", 0o755, prog.content)
	for _, name := range guestd.Commands() {
		t.link("bin/"+name, "guestd")
	}
	for _, library := range prog.libraries {
		content, err := os.ReadFile(library)
		if err != nil {
			return nil, err
		}
		t.file(strings.TrimPrefix(library, "/"), 0o755, content)
	}
	for _, f := range small {
		t.file(f.path, f.mode, f.content)
	}
	t.file(strings.TrimPrefix(guestd.HostKeyFile, "/"), 0o600, hostKey)

	for _, name := range append(p.Modules, "busybox") {
		content, err := os.ReadFile(p.module(name))
		if err != nil {
			return nil, err
		}
		if name == "busybox" {
			t.file("bin/busybox", 0o755, content)
		} else {
			t.file("lib/modules/"+name, 0o644, content)
		}
	}
	t.file("lib/modules/order", 0o644, []byte(strings.Join(p.Modules, "\n")+"\n"))

	t.link("init", "bin/busybox")
	t.link("sbin", "bin")
	t.link("usr/bin", "../bin")
	t.link("usr/sbin", "../bin")
	for _, applet := range p.Applets {
		t.link("bin/"+applet, "busybox")
	}
	return t.records, nil
}

// tree gathers records; the first of a path stands, so that our own files come
// before busybox's. Folders are added before what is in them.
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
	r := cpio.StaticFile(name, string(content), mode)
	t.add(r)
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
