// SPDX-License-Identifier: Apache-2.0

// Package project has the libraries that a user's project needs: its manifest mhmig.toml names them, mhmig.lock pins
// them, and a cache has their files.
//
//	p, err := project.Open(dir, cache, version)
//	changes, err := p.Add(ctx, "net", "https://git.example.com/net.git@v1.2.0", project.Review{})
//	set, err := p.Libraries(library.Set{"std": stdlib.FS})
//
// Versions are chosen as the go command does it (minimal version selection): of each library the newest version that
// the project or any library in its graph asks for, and never a newer one. Majors from v2 on are incompatible with all
// others: who needs two of them is in conflict.
//
// Libraries only reads, and never fetches. A Project is used by one goroutine; processes that change one project at the
// same time take turns.
package project

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/mhmig/mhmig/lang/library"
)

// A Project is a folder with a manifest.
type Project struct {
	Dir string
	// Working is called before something that may take long; done ends it. It may be nil.
	Working func(what string) (done func())

	manifest Manifest
	lock     map[string]Locked
	store    store
	mhmig    string // the version that runs; "": unknown, which is new enough
}

// Find returns the folder of the project that dir is in: dir or the nearest one above it with a manifest. It returns ""
// if there is none.
func Find(dir string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, ManifestName)); err == nil {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			return ""
		}
		dir = above
	}
}

// Open opens the project in a folder. Cache is the folder of mhmig's cache; mhmig is the version of the program, which
// manifests may require. Errors in the manifest are a [diag.List].
func Open(dir, cache, mhmig string) (*Project, error) {
	p := &Project{Dir: dir, store: store{filepath.Join(cache, "libraries")}}
	if base, err := module.PseudoVersionBase(mhmig); semver.IsValid(mhmig) && (err != nil || base != "") {
		p.mhmig = mhmig // not of a clone without tags
	}
	return p, p.read()
}

// read reads the manifest and the lock.
func (p *Project) read() (err error) {
	if p.manifest, err = readManifest(p.Dir); err != nil {
		return err
	}
	locked, err := readLock(p.Dir)
	if err != nil {
		return err
	}
	p.lock = map[string]Locked{}
	for _, l := range locked {
		p.lock[l.Name] = l
	}
	return nil
}

// Init writes the manifest of a new project or library.
func Init(dir, name, mhmig string) error {
	if err := checkName(name); err != nil {
		return err
	}
	text := fmt.Sprintf("name = %q\nversion = \"v0.1.0\"\n", name)
	if semver.IsValid(mhmig) && !module.IsPseudoVersion(mhmig) {
		text += fmt.Sprintf("mhmig = %q\n", semver.Canonical(mhmig))
	}
	file, err := os.OpenFile(filepath.Join(dir, ManifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("there is a %s already", filepath.Join(dir, ManifestName))
	} else if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// NameOf makes the name of a library from a folder's.
func NameOf(dir string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, filepath.Base(dir))
	return strings.TrimLeft(name, "_0123456789")
}

// Libraries returns base and the project's libraries, at the versions of the lock. Nothing is fetched: a library that is
// not on this machine is an error when one of its files is opened. Others is a folder for each library that is to be
// used in place of what the project says. It is an error if the lock does not agree with the manifests.
func (p *Project) Libraries(base library.Set, others map[string]string) (library.Set, error) {
	set := library.Set{}
	maps.Copy(set, base)
	own := &files{title: "@" + p.manifest.Name, dir: p.Dir, manifest: p.manifest}
	set[library.Project] = own
	if p.manifest.Name != "" {
		set[p.manifest.Name] = own
	}
	all := map[string]*files{}
	for name, l := range p.lock {
		f, err := p.locked(l)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			set[name] = absent{fmt.Errorf("library %s is not on this machine; mhmig lib verify fetches it", l.title())}
		case err != nil:
			set[name] = absent{fmt.Errorf("library %s: %w", l.title(), err)}
		default:
			set[name], all[name] = f, f
		}
	}
	for name, need := range p.manifest.Replace {
		if !IsFolder(need.Source) {
			continue
		}
		o, err := p.origin(need.Source, p.Dir)
		if err != nil {
			return nil, err
		}
		f, err := unverified(name, o.(folder).dir)
		if err != nil {
			return nil, fmt.Errorf("replace.%s of %s: %w", name, ManifestName, err)
		}
		set[name], all[name] = f, f
	}
	if err := Override(set, others); err != nil {
		return nil, err
	}
	for name := range others {
		delete(all, name)
	}
	if err := p.agree(p.manifest, p.Dir, others); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		base := f.dir
		if l := p.lock[name]; f.sums != nil {
			base = p.folderOf(l)
		}
		if err := p.agree(f.manifest, base, others); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// Override puts the libraries in folders into a set, unverified.
func Override(set library.Set, folders map[string]string) error {
	for name, dir := range folders {
		if err := checkName(name); err != nil {
			return err
		}
		f, err := unverified(name, dir)
		if err != nil {
			return err
		}
		set[name] = f
	}
	return nil
}

// unverified is a library in a folder that the user works on. It may lack a manifest.
func unverified(name, dir string) (*files, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &files{title: "@" + name, dir: dir, free: true}, nil
	}
	return &files{title: "@" + name, dir: dir, manifest: m}, err
}

// folderOf is the folder that a library of the lock comes from, "" if it is fetched.
func (p *Project) folderOf(l Locked) string {
	switch dir := filepath.FromSlash(l.Source); {
	case !IsFolder(l.Source):
		return ""
	case filepath.IsAbs(dir):
		return dir
	default:
		return filepath.Join(p.Dir, dir)
	}
}

// agree checks that the lock has what a manifest needs, which is in the folder base, "" if it was fetched.
func (p *Project) agree(m Manifest, base string, others map[string]string) error {
	if p.mhmig != "" && m.Mhmig != "" && semver.Compare(p.mhmig, m.Mhmig) < 0 {
		return fmt.Errorf("%s requires mhmig %s, and this is %s", m.title(), m.Mhmig, p.mhmig)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Needs)) {
		need, base := m.Needs[name], base
		if replaced, ok := p.manifest.Replace[name]; ok {
			if need, base = replaced, p.Dir; IsFolder(need.Source) {
				continue
			}
		}
		if _, other := others[name]; other || name == p.manifest.Name {
			continue
		}
		l, known := p.lock[name]
		o, err := p.origin(need.Source, base)
		if err != nil {
			return fmt.Errorf("%s: needs.%s: %w", m.title(), name, err)
		}
		lacks := "@" + name
		switch {
		case !known:
		case l.Source != o.String():
			lacks += " from " + o.String()
		case !satisfies(l.Version, need.Version):
			lacks += " " + need.Version
		case p.manifest.Signers != "" && l.Commit != "" && l.Signer == "":
			lacks = "a signer of " + l.title()
		default:
			continue
		}
		return fmt.Errorf("%s does not have %s, which %s needs; mhmig lib add, without arguments, brings it up to date", LockName, lacks, m.title())
	}
	return nil
}

// majorOf is the major version within which versions are compatible: v0 leads up to v1.
func majorOf(version string) string {
	if major := semver.Major(version); major != "v0" {
		return major
	}
	return "v1"
}

// satisfies reports whether a version will do for a need, "" for any.
func satisfies(version, need string) bool {
	return need == "" || semver.Compare(version, need) >= 0 && majorOf(version) == majorOf(need)
}

// locked opens a library at the version of the lock: its copy in the project, else the folder it comes from, else the
// cache's. It is fs.ErrNotExist if it is not on this machine.
func (p *Project) locked(l Locked) (*files, error) {
	f := &files{title: l.title()}
	var err error
	switch vendor := filepath.Join(p.Dir, VendorDir); {
	case isDir(vendor):
		f.dir, f.mend = filepath.Join(vendor, l.Name), "mhmig lib vendor copies it again"
		if f.sums, err = readSums(f.dir+".sums", l.Sum); err != nil {
			return nil, fmt.Errorf("%w; mhmig lib vendor copies what is locked", hide(err))
		}
	case IsFolder(l.Source):
		f.dir = p.folderOf(l)
		f.mend = fmt.Sprintf("mhmig lib update %s takes the change, and [replace] or --lib %s=%s is for working on it", l.Name, l.Name, l.Source)
		if f.sums, err = p.store.sums(l.Sum); errors.Is(err, fs.ErrNotExist) {
			if f.sums, err = sumFolder(f.dir); err == nil && f.sums.hash() != l.Sum {
				err = fmt.Errorf("the files in %s have changed since %s was written; %s", f.dir, LockName, f.mend)
			}
			err = hide(err)
		}
	default:
		f.dir, f.mend = p.store.files(l.Sum), fmt.Sprintf("remove %s, and mhmig lib verify fetches it again", p.store.content(l.Sum))
		f.sums, err = p.store.sums(l.Sum)
	}
	if err != nil {
		return nil, err
	}
	text, err := fs.ReadFile(f, ManifestName)
	if err != nil {
		return nil, hide(err)
	}
	f.manifest, err = parseManifest(text, "@"+l.Name+"//"+ManifestName)
	return f, err
}

// hide makes fs.ErrNotExist invisible for callers that take it for a library that was not fetched.
func hide(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// fetch makes sure that a library of the lock is in the store, or in its folder, and is what the lock says.
func (p *Project) fetch(ctx context.Context, l Locked) error {
	if _, err := p.store.sums(l.Sum); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	o, err := p.origin(l.Source, p.Dir)
	if err != nil {
		return err
	}
	dir, release, err := o.unpack(ctx, l.Version, l.Commit)
	if err != nil {
		return fmt.Errorf("library %s: %w", l.title(), err)
	}
	defer release()
	sum, err := p.store.put(dir)
	if err != nil {
		err = fmt.Errorf("library %s from %s: %w", l.title(), o, err)
	} else if sum != l.Sum {
		err = fmt.Errorf("library %s from %s has the hash %s, in %s it is %s: it is not what was locked; mhmig lib update %s takes the change to a folder, and without its entry in the lock anything is taken", l.title(), o, sum, LockName, l.Sum, l.Name)
	}
	return err
}
