// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The files that busybox's modprobe reads beside the modules. depmod would make them
// on installation, so packages have none.
const (
	modulesDep   = "modules.dep"   // a module and what it depends on
	modulesAlias = "modules.alias" // patterns of the devices and file systems that it is for
)

// addModules copies the drivers and what they depend on out of a kernel's
// module folder, uncompressed and without the symbols that are not needed to load
// them. A driver that is part of the kernel itself needs no file.
func (p *parts) addModules(ctx context.Context, o Options, dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("read the kernel's modules: %w", err)
	}
	p.Release = filepath.Base(dir)
	kernel := kernelModules{dir: dir}
	if kernel.builtin, err = builtinModules(filepath.Join(dir, "modules.builtin")); err != nil {
		return fmt.Errorf("read the kernel's modules: %w", err)
	}
	if kernel.files, err = moduleFiles(dir); err != nil {
		return fmt.Errorf("read the kernel's modules: %w", err)
	}
	names := slices.Clone(drivers)
	for _, name := range extraDrivers {
		if kernel.files[name] != "" {
			names = append(names, name)
		}
	}
	modules, err := kernel.withDependencies(ctx, names)
	if err != nil {
		return err
	}
	for _, m := range modules {
		p.Modules = append(p.Modules, m.name+".ko")
		if err := os.WriteFile(p.file(m.name+".ko"), m.content, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.file(modulesDep), []byte(dependencyTable(modules)), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(p.file(modulesAlias), []byte(aliasTable(modules)), 0o644); err != nil {
		return err
	}
	return p.stripModules(ctx, o)
}

// kernelModules are a kernel's modules, of which the guest gets some.
type kernelModules struct {
	dir     string
	builtin map[string]bool   // names of those that are part of the kernel
	files   map[string]string // paths of the others by name
}

// module is a module of the guest.
type module struct {
	name    string
	content []byte
	needs   []string // names of the modules to load before, in this order
	aliases []string // patterns of modalias, and names such as fs-iso9660
}

// withDependencies reads the modules of these names and all that they depend on: each
// one comes after its dependencies.
func (k kernelModules) withDependencies(ctx context.Context, names []string) ([]module, error) {
	var modules []module
	needs := map[string][]string{}
	var add func(name, neededBy string) error
	add = func(name, neededBy string) error {
		if _, added := needs[name]; added || k.builtin[name] {
			return nil
		}
		m, err := k.read(ctx, name, neededBy)
		if err != nil {
			return err
		}
		needs[name] = nil
		direct := m.needs
		m.needs = nil
		for _, need := range direct {
			if err := add(need, name); err != nil {
				return err
			}
			if !k.builtin[need] {
				m.needs = append(append(m.needs, needs[need]...), need)
			}
		}
		m.needs = unique(m.needs)
		needs[name] = m.needs
		modules = append(modules, m)
		return nil
	}
	for _, name := range names {
		if err := add(name, "the guest"); err != nil {
			return nil, err
		}
	}
	return modules, nil
}

// read reads a module; needs are those that it names itself.
func (k kernelModules) read(ctx context.Context, name, neededBy string) (module, error) {
	file, ok := k.files[name]
	if !ok {
		return module{}, fmt.Errorf("%s has no module %s, which %s needs", k.dir, name, neededBy)
	}
	m := module{name: name}
	var err error
	if m.content, err = readModule(ctx, file); err != nil {
		return module{}, err
	}
	if m.needs, m.aliases, err = moduleInfo(m.content); err != nil {
		return module{}, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// unique is a list without repetitions: the first of each stays.
func unique(list []string) []string {
	var once []string
	for _, s := range list {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}

// dependencyTable is modules.dep: a line for each module with what it depends on, which
// modprobe loads from the last to the first.
func dependencyTable(modules []module) string {
	var b strings.Builder
	for _, m := range modules {
		fmt.Fprintf(&b, "%s.ko:", m.name)
		for _, need := range slices.Backward(m.needs) {
			fmt.Fprintf(&b, " %s.ko", need)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// aliasTable is modules.alias: a line for each pattern of each module.
func aliasTable(modules []module) string {
	var b strings.Builder
	for _, m := range modules {
		for _, alias := range m.aliases {
			fmt.Fprintf(&b, "alias %s %s\n", alias, m.name)
		}
	}
	return b.String()
}

// stripModules takes from the modules what is not needed to load them, if binutils is
// installed: debug information, the names of local symbols, and .BTF, the types for
// BPF programs, which the kernel would keep in memory.
func (p *parts) stripModules(ctx context.Context, o Options) error {
	strip, err := exec.LookPath("strip")
	if err != nil || len(p.Modules) == 0 {
		o.Logger.Debug("modules are not stripped", "reason", err)
		return nil
	}
	cmd := exec.CommandContext(ctx, strip, "--strip-unneeded", "--remove-section=.BTF", "--")
	for _, name := range p.Modules {
		cmd.Args = append(cmd.Args, p.file(name))
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("strip the modules: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// moduleName is the kernel's name of a module file: virtio-rng.ko.xz is virtio_rng.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func builtinModules(path string) (map[string]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	builtin := map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		builtin[moduleName(lines.Text())] = true
	}
	return builtin, lines.Err()
}

// moduleFiles maps the names of a release's modules to their files.
func moduleFiles(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".ko") {
			files[moduleName(path)] = path
		}
		return err
	})
	return files, err
}

// readModule returns a module uncompressed.
func readModule(ctx context.Context, path string) ([]byte, error) {
	unpack, ok := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(path)]
	if !ok {
		return os.ReadFile(path)
	}
	cmd := exec.CommandContext(ctx, unpack, "-dc", "--", path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	content, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("unpack %s with %s: %w: %s", path, unpack, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return content, nil
}

// moduleInfo reads a module's .modinfo: the modules that it depends on, and its
// aliases.
func moduleInfo(content []byte) (needs, aliases []string, err error) {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, nil, errors.New("not a kernel module")
	}
	info, err := section.Data()
	if err != nil {
		return nil, nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		switch key, value, _ := strings.Cut(string(field), "="); {
		case key == "depends" && value != "":
			needs = strings.Split(strings.ReplaceAll(value, "-", "_"), ",")
		case key == "alias":
			aliases = append(aliases, value)
		}
	}
	return needs, aliases, nil
}
