// SPDX-License-Identifier: Apache-2.0

// Package bootstrap prepares this machine for runs on a lab: it looks for the programs
// that they need, installs their packages, and builds a guest.
//
//	m := bootstrap.Machine{Guest: bootstrap.JeOS, Install: true, Stdin: os.Stdin, Out: os.Stderr, Log: log}
//	err := m.Prepare(ctx)
//
// What is there already is kept, so that a second call is quick.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/mhmig/mhmig/runtime/debian"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/qemu"
)

// The guests that can be built.
const (
	JeOS   = "jeos"
	Debian = "debian"
)

// A Machine is this machine, as it is to be prepared.
type Machine struct {
	Guest   string       // [JeOS] or [Debian]
	Options jeos.Options // of JeOS; its Logger is Log
	Netns   bool         // labs of network namespaces are to run here
	Install bool         // install the packages of missing programs
	QEMUs   []string     // versions of QEMU to fetch, see [qemu.Fetch]

	Stdin io.Reader // of the installation, which may ask for sudo's password
	Out   io.Writer // its output
	Log   *slog.Logger
}

// Prepare builds the guest, unless it is built already, and installs missing programs if
// it may. The error names the packages that are missing in the end; JeOS is built without
// them too.
func (m *Machine) Prepare(ctx context.Context) error {
	build, needed := m.buildJeOS, m.Guest
	if m.Guest == Debian {
		build = m.buildDebian
		if image, err := debian.Find(debian.Options{}); err == nil {
			m.Log.Info("guest image is built already", "folder", filepath.Dir(image.Disk))
			needed, build = "", func(context.Context) error { return nil }
		}
	}
	missing := m.missingPackages(needed)
	if m.Install && len(missing) > 0 {
		if err := m.install(ctx, missing); err != nil {
			return err
		}
		missing = m.missingPackages(needed)
	}
	var err error
	if m.Guest == JeOS || len(missing) == 0 { // JeOS needs none of them to be built
		err = build(ctx)
	}
	if err == nil {
		err = m.fetchQEMUs(ctx)
	}
	if len(missing) > 0 {
		err = errors.Join(err, fmt.Errorf("packages are missing; install them: %s", strings.Join(installCommand(missing, os.Geteuid()), " ")))
	}
	return err
}

// fetchQEMUs gets the QEMUs of other versions.
func (m *Machine) fetchQEMUs(ctx context.Context) error {
	if len(m.QEMUs) == 0 {
		return nil
	}
	dir, err := lab.VersionsFolder()
	if err != nil {
		return err
	}
	for _, version := range m.QEMUs {
		if _, err := qemu.Fetch(ctx, dir, version, m.Log); err != nil {
			return err
		}
	}
	return nil
}

// buildJeOS makes JeOS, or finds it.
func (m *Machine) buildJeOS(ctx context.Context) error {
	o := m.Options
	o.Logger = m.Log
	image, err := jeos.Build(ctx, o)
	if err == nil {
		m.Log.Info("guest image is ready", "kernel", image.Kernel, "initrd", image.Initrd)
	}
	return err
}

// buildDebian makes the Debian guest.
func (m *Machine) buildDebian(ctx context.Context) error {
	image, err := debian.Build(ctx, debian.Options{Logger: m.Log})
	if err == nil {
		m.Log.Info("guest image is ready", "disk", image.Disk, "kernel", image.Kernel, "initrd", image.Initrd)
	}
	return err
}
