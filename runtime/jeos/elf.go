// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// program is an executable with the files that it needs to start.
type program struct {
	content   []byte
	libraries []string // paths of its dynamic loader and shared libraries
}

// loadProgram looks into an executable for what the guest must hold besides.
// mhmig is usually static; go install and go test with cgo make it dynamic.
func loadProgram(path string, content []byte) (program, error) {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return program{}, fmt.Errorf("the guest's program %s: %w", path, err)
	}
	if f.Machine != elf.EM_X86_64 {
		return program{}, fmt.Errorf("the guest's program %s is for %s; the guest is x86_64", path, f.Machine)
	}
	trimmed, err := trim(f, content)
	if err != nil {
		return program{}, fmt.Errorf("the guest's program %s: %w", path, err)
	}
	p := program{content: trimmed}
	seen := map[string]bool{}
	if err := p.addLibraries(f, seen); err != nil {
		return program{}, fmt.Errorf("the guest's program %s: %w; or build it static: CGO_ENABLED=0 go build", path, err)
	}
	return p, nil
}

// trim drops what follows the last byte that is mapped into memory: symbols
// and debug information, half of a Go program, which the guest would hold in
// its memory.
func trim(f *elf.File, content []byte) ([]byte, error) {
	const (
		sectionsOffsetAt = 0x28 // e_shoff; e_shnum and e_shstrndx follow at the header's end
		sectionsCountAt  = 0x3c
	)
	if f.Class != elf.ELFCLASS64 {
		return nil, errors.New("not a 64-bit executable")
	}
	var end uint64
	for _, prog := range f.Progs {
		end = max(end, prog.Off+prog.Filesz)
	}
	if end < 64 || end > uint64(len(content)) {
		return nil, errors.New("executable is cut short")
	}
	trimmed := bytes.Clone(content[:end])
	binary.LittleEndian.PutUint64(trimmed[sectionsOffsetAt:], 0)
	binary.LittleEndian.PutUint32(trimmed[sectionsCountAt:], 0)
	return trimmed, nil
}

// libraryDirs are where the dynamic loader looks on the distributions we know.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

func (p *program) addLibraries(f *elf.File, seen map[string]bool) error {
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			name := make([]byte, prog.Filesz)
			if _, err := prog.ReadAt(name, 0); err != nil {
				return err
			}
			p.add(string(bytes.TrimRight(name, "\x00")), seen)
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range needed {
		path, err := findLibrary(name)
		if err != nil {
			return err
		}
		if !p.add(path, seen) {
			continue
		}
		library, err := elf.Open(path)
		if err != nil {
			return err
		}
		err = p.addLibraries(library, seen)
		library.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// add tells whether the path is new.
func (p *program) add(path string, seen map[string]bool) bool {
	if seen[path] {
		return false
	}
	seen[path] = true
	p.libraries = append(p.libraries, path)
	return true
}

func findLibrary(name string) (string, error) {
	for _, dir := range libraryDirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("shared library %s is in none of %v", name, libraryDirs)
}
