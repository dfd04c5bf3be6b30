// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// addModules copies the drivers and what they depend on out of a kernel's
// module folder, uncompressed and without their debug information. A driver
// that is part of the kernel itself needs no file.
func (p *parts) addModules(ctx context.Context, o Options, dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("read the kernel's modules: %w", err)
	}
	p.Release = filepath.Base(dir)
	builtin, err := builtinModules(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return fmt.Errorf("read the kernel's modules: %w", err)
	}
	files, err := moduleFiles(dir)
	if err != nil {
		return fmt.Errorf("read the kernel's modules: %w", err)
	}

	added := map[string]bool{}
	var add func(name, neededBy string) error
	add = func(name, neededBy string) error {
		if added[name] || builtin[name] {
			return nil
		}
		added[name] = true
		file, ok := files[name]
		if !ok {
			return fmt.Errorf("%s has no module %s, which %s needs", dir, name, neededBy)
		}
		content, err := readModule(ctx, file)
		if err != nil {
			return err
		}
		needs, err := moduleDependencies(content)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, need := range needs {
			if err := add(need, name); err != nil {
				return err
			}
		}
		p.Modules = append(p.Modules, name+".ko")
		return os.WriteFile(p.file(name+".ko"), content, 0o644)
	}
	for _, name := range drivers {
		if err := add(name, "the guest"); err != nil {
			return err
		}
	}
	for _, name := range extraDrivers {
		if files[name] == "" {
			continue
		}
		if err := add(name, "the guest"); err != nil {
			return err
		}
	}
	return p.stripModules(ctx, o)
}

// stripModules strips the modules, which halves them, if binutils is installed.
func (p *parts) stripModules(ctx context.Context, o Options) error {
	strip, err := exec.LookPath("strip")
	if err != nil || len(p.Modules) == 0 {
		o.Logger.Debug("modules are not stripped", "reason", err)
		return nil
	}
	cmd := exec.CommandContext(ctx, strip, "--strip-debug", "--")
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

// moduleDependencies reads depends= in a module's .modinfo; modules.dep is made on
// installation and so does not exist.
func moduleDependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("not a kernel module")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
