// SPDX-License-Identifier: Apache-2.0

package project

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/pelletier/go-toml/v2"

	"github.com/mhmig/mhmig/lang/library"
)

// ArchiveExtension is the file extension of archives.
const ArchiveExtension = ".mhmig"

// callName is the file of an archive that says what to run.
const callName = "mhmig-archive.toml"

// A Call is what an archive runs: names of libraries' files, or paths, which are relative to the project in the archive.
type Call struct {
	Scenario string `toml:"scenario,omitempty"` // "": each variant's param type names it
	Config   string `toml:"config,omitempty"`   // "": mhmig's own
}

// Archive writes a ZIP file with the project's files and with its libraries, copied as by Vendor, and with what to run.
// The same files make the same archive. It gets its name when check, which reads the
// finished file, has found no error.
func (p *Project) Archive(ctx context.Context, file string, call Call, check func(file string) error) error {
	text, err := toml.Marshal(call)
	if err != nil {
		return err
	}
	contents := map[string][]byte{callName: text}
	add := func(name, from string) error {
		data, err := os.ReadFile(from)
		contents[name] = data
		return err
	}
	names, err := list(p.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if path.Ext(name) == ArchiveExtension { // older ones
			continue
		}
		if err := add(name, filepath.Join(p.Dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	if len(p.lock) > 0 {
		if err := add(LockName, filepath.Join(p.Dir, LockName)); err != nil {
			return err
		}
	}
	for _, l := range p.Locked() {
		f, err := p.locked(l)
		if errors.Is(err, fs.ErrNotExist) {
			if err := p.fetch(ctx, l); err != nil {
				return err
			}
			f, err = p.locked(l)
		}
		if err != nil {
			return fmt.Errorf("library %s: %w", l.title(), err)
		}
		folder := path.Join(VendorDir, l.Name)
		contents[folder+".sums"] = f.sums.text()
		for name := range f.sums {
			if contents[path.Join(folder, name)], err = fs.ReadFile(f, name); err != nil {
				return err
			}
		}
	}
	for name, need := range p.manifest.Replace {
		if IsFolder(need.Source) {
			return fmt.Errorf("@%s is replaced by the folder %s, which is not locked; remove the line from [replace] of %s first", name, need.Source, ManifestName)
		}
	}
	partial := filepath.Join(filepath.Dir(file), "."+filepath.Base(file))
	defer func() { _ = os.Remove(partial) }() // renamed, if all is well
	if err := writeZIP(partial, contents); err != nil {
		return err
	}
	if err := check(partial); err != nil {
		return err
	}
	return os.Rename(partial, file)
}

func writeZIP(file string, contents map[string][]byte) error {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	names := make([]string, 0, len(contents))
	for name := range contents {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		part, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err != nil {
			return err
		}
		if _, err := part.Write(contents[name]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return renameio.WriteFile(file, b.Bytes(), 0o644)
}

// Unpack unpacks an archive into a folder, in which its project is then, and returns what it runs, with paths to files
// of that folder.
func Unpack(file, dir string) (Call, error) {
	var call Call
	r, err := zip.OpenReader(file)
	if err != nil {
		return call, fmt.Errorf("archive %s: %w", file, err)
	}
	defer r.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return call, err
	}
	defer root.Close()
	size := uint64(0)
	for _, part := range r.File {
		if size += part.UncompressedSize64; size > maxUnpacked {
			return call, fmt.Errorf("archive %s: the files are larger than %d MiB together", file, maxUnpacked>>20)
		}
		if err := unpackPart(root, part); err != nil {
			return call, fmt.Errorf("archive %s: %w", file, err)
		}
	}
	text, err := root.ReadFile(callName)
	if err != nil {
		return call, fmt.Errorf("archive %s: it has no %s, as mhmig archive writes it", file, callName)
	}
	if err := toml.Unmarshal(text, &call); err != nil {
		return call, tomlFault(err, text, file+"//"+callName, "")
	}
	for _, name := range []*string{&call.Scenario, &call.Config} {
		if _, _, inLibrary := library.Cut(*name); inLibrary || *name == "" {
			continue
		}
		if !filepath.IsLocal(*name) {
			return call, fmt.Errorf("archive %s: it runs %q, which is not in it", file, *name)
		}
		*name = filepath.Join(dir, filepath.FromSlash(*name))
	}
	return call, nil
}

func unpackPart(root *os.Root, part *zip.File) error {
	if !part.Mode().IsRegular() {
		return fmt.Errorf("%q is not a regular file", part.Name)
	}
	data, err := part.Open()
	if err != nil {
		return err
	}
	defer data.Close()
	limited := io.LimitReader(data, int64(part.UncompressedSize64)) //nolint:gosec // at most maxUnpacked
	return errors.Join(root.MkdirAll(path.Dir(part.Name), 0o755), writeInside(root, part.Name, limited))
}
