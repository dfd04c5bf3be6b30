// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// executable is a program of the distribution with its shared libraries.
type executable struct {
	content   []byte
	libraries []library
}

// library is a dynamic loader or a shared library.
type library struct {
	path    string // in the guest
	content []byte
}

// loadExecutable reads an executable and, if it is dynamic, its libraries. Their
// paths are relative to root.
func loadExecutable(path, root string) (executable, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return executable{}, err
	}
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return executable{}, fmt.Errorf("%s: %w", path, err)
	}
	if f.Machine != elf.EM_X86_64 {
		return executable{}, fmt.Errorf("%s is for %s; the guest is x86_64", path, f.Machine)
	}
	p := executable{}
	if p.content, err = trim(f, content); err != nil {
		return executable{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := p.addLibraries(f, root); err != nil {
		return executable{}, fmt.Errorf("%s is not static: %w", path, err)
	}
	return p, nil
}

// trim drops everything after the last byte that is mapped into memory: symbols and
// debug information, which would take memory in the guest's initramfs.
func trim(f *elf.File, content []byte) ([]byte, error) {
	const (
		headerSize       = 64
		sectionsOffsetAt = 0x28 // e_shoff
		sectionsCountAt  = 0x3c // e_shnum and e_shstrndx
	)
	var end uint64
	for _, prog := range f.Progs {
		end = max(end, prog.Off+prog.Filesz)
	}
	if f.Class != elf.ELFCLASS64 || end < headerSize || end > uint64(len(content)) {
		return nil, errors.New("not a whole 64-bit executable")
	}
	trimmed := bytes.Clone(content[:end])
	binary.LittleEndian.PutUint64(trimmed[sectionsOffsetAt:], 0)
	binary.LittleEndian.PutUint32(trimmed[sectionsCountAt:], 0)
	return trimmed, nil
}

// libraryDirs are where the dynamic loader looks on the distributions we know.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// addLibraries adds f's loader and libraries, and theirs.
func (p *executable) addLibraries(f *elf.File, root string) error {
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(name, 0); err != nil {
			return err
		}
		loader := string(bytes.TrimRight(name, "\x00"))
		// In a package, /lib may be /usr/lib; the guest has it at the requested path.
		_, content, err := readFirst(root, loader, "/usr"+loader)
		if err != nil {
			return err
		}
		if err := p.addLibrary(library{loader, content}, root); err != nil {
			return err
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range needed {
		var places []string
		for _, dir := range libraryDirs {
			places = append(places, filepath.Join(dir, name))
		}
		path, content, err := readFirst(root, places...)
		if err != nil {
			return err
		}
		if err := p.addLibrary(library{path, content}, root); err != nil {
			return err
		}
	}
	return nil
}

func (p *executable) addLibrary(l library, root string) error {
	if slices.ContainsFunc(p.libraries, func(other library) bool { return other.path == l.path }) {
		return nil
	}
	p.libraries = append(p.libraries, l)
	f, err := elf.NewFile(bytes.NewReader(l.content))
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	return p.addLibraries(f, root)
}

// readFirst reads the first of the paths that exists.
func readFirst(root string, paths ...string) (path string, content []byte, err error) {
	for _, path := range paths {
		content, err := os.ReadFile(filepath.Join(root, path))
		if !errors.Is(err, fs.ErrNotExist) {
			return path, content, err
		}
	}
	return "", nil, fmt.Errorf("none of %v exists", paths)
}
