// SPDX-License-Identifier: Apache-2.0

package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// A Change is a library that an operation added, removed, or changed.
type Change struct {
	Name     string
	From, To string   // versions; "": it was not there, or is not any more
	By       string   // who needs it, if the project does not itself
	Breaks   []string // what its users must adapt to
}

// Review decides about new versions of libraries.
type Review struct {
	// Compare returns what users of the files before must adapt to.
	Compare func(before, after fs.FS) ([]string, error)
	// AllowBreaks accepts that within a major version.
	AllowBreaks bool
}

// A BreakingError is a new version of a library within a major version that its users must adapt to.
type BreakingError struct{ Changes []Change }

func (e *BreakingError) Error() string {
	var b strings.Builder
	for _, c := range e.Changes {
		fmt.Fprintf(&b, "@%s %s breaks what used %s:\n", c.Name, c.To, c.From)
		for _, line := range c.Breaks {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	b.WriteString("nothing was changed; --breaking takes it")
	return b.String()
}

// Add adds a library to the needs of the project, or changes its version. Source is SOURCE[@VERSION].
func (p *Project) Add(ctx context.Context, name, source string, review Review) ([]Change, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if name == p.manifest.Name {
		return nil, fmt.Errorf("@%s is this library itself", name)
	}
	source, query := SplitSource(source)
	return p.change(ctx, review, nil, func(m *Manifest) error {
		o, err := p.origin(source, p.Dir)
		if err != nil {
			return err
		}
		version, _, err := o.find(ctx, query)
		if err != nil {
			return err
		}
		need := Need{Source: source, Version: version, Permits: m.Needs[name].Permits}
		if _, isFolder := o.(folder); isFolder {
			need.Source, need.Version = o.String(), query
			if !strings.HasPrefix(need.Source, ".") && !strings.HasPrefix(need.Source, "/") {
				need.Source = "./" + need.Source
			}
		}
		m.Needs[name] = need
		return nil
	})
}

// Sync makes the lock agree with the manifest.
func (p *Project) Sync(ctx context.Context, review Review) ([]Change, error) {
	return p.change(ctx, review, nil, func(*Manifest) error { return nil })
}

// Remove removes libraries from the needs of the project.
func (p *Project) Remove(ctx context.Context, names []string) ([]Change, error) {
	return p.change(ctx, Review{AllowBreaks: true}, nil, func(m *Manifest) error {
		for _, name := range names {
			if _, ok := m.Needs[name]; !ok {
				return p.notNeeded(m, name)
			}
			delete(m.Needs, name)
		}
		return nil
	})
}

// notNeeded is the error of a library that is not in the needs of the project.
func (p *Project) notNeeded(m *Manifest, name string) error {
	if _, locked := p.lock[name]; locked {
		return fmt.Errorf("@%s is not in the needs of %s: mhmig lib why %s says who needs it", name, ManifestName, name)
	}
	return fmt.Errorf("@%s is not in the needs of %s, which has %s", name, ManifestName, cmp.Or(strings.Join(slices.Sorted(maps.Keys(m.Needs)), ", "), "none"))
}

// Update raises libraries that the project needs, all if there are no names: to the version of NAME@VERSION, else to the
// latest release with the same major version. Folders are read anew.
func (p *Project) Update(ctx context.Context, names []string, review Review) ([]Change, error) {
	refresh := map[string]bool{}
	return p.change(ctx, review, refresh, func(m *Manifest) error {
		if len(names) == 0 {
			names = slices.Sorted(maps.Keys(m.Needs))
			for name := range p.lock { // folders of others too
				refresh[name] = true
			}
		}
		for _, name := range names {
			name, query, _ := strings.Cut(name, "@")
			need, ok := m.Needs[name]
			if !ok && p.lock[name].Source != "" && IsFolder(p.lock[name].Source) {
				refresh[name] = true
				continue
			} else if !ok {
				return p.notNeeded(m, name)
			}
			refresh[name] = true
			o, err := p.origin(need.Source, p.Dir)
			if err != nil {
				return err
			}
			version := need.Version
			if from, ok := o.(releaser); ok && query == "" {
				version, err = newer(ctx, from, need.Version)
			} else if query != "" {
				version, _, err = o.find(ctx, query)
			}
			if err != nil {
				return fmt.Errorf("@%s: %w", name, err)
			}
			need.Version = version
			m.Needs[name] = need
		}
		return nil
	})
}

// releaser is an origin that has several versions.
type releaser interface {
	// latest returns the newest release of a major version.
	latest(ctx context.Context, major string) (version, commit string, err error)
}

// newer is the latest release with the major version of one that is used, which is kept if it is newer.
func newer(ctx context.Context, from releaser, used string) (string, error) {
	latest, _, err := from.latest(ctx, majorOf(used))
	if err != nil && module.IsPseudoVersion(used) { // there are no releases
		return used, ctx.Err()
	}
	if err == nil && semver.Compare(used, latest) > 0 {
		return used, nil
	}
	return latest, err
}

// change edits the needs of the project, chooses the versions again, and writes manifest and lock.
func (p *Project) change(ctx context.Context, review Review, refresh map[string]bool, edit func(*Manifest) error) ([]Change, error) {
	unlock, err := p.store.lock(ctx, "project-"+sumOf([]byte(p.Dir))[:16])
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.read(); err != nil { // another process may have changed it meanwhile
		return nil, err
	}
	wanted := p.manifest
	wanted.Needs = maps.Clone(p.manifest.Needs)
	if wanted.Needs == nil {
		wanted.Needs = map[string]Need{}
	}
	if err := edit(&wanted); err != nil {
		return nil, err
	}
	r, err := p.resolve(ctx, wanted, refresh)
	if err != nil {
		return nil, err
	}
	changes, err := p.review(ctx, r, review)
	if err != nil {
		return nil, err
	}
	return changes, p.write(wanted, r.entries())
}

// write writes manifest and lock.
func (p *Project) write(m Manifest, entries []Locked) error {
	file := filepath.Join(p.Dir, ManifestName)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	edited := text
	for _, name := range slices.Sorted(maps.Keys(m.Needs)) {
		if need := m.Needs[name]; need.line(name) != p.manifest.Needs[name].line(name) {
			if edited, err = setNeed(edited, name, &need); err != nil {
				return err
			}
		}
	}
	for name := range p.manifest.Needs {
		if _, kept := m.Needs[name]; !kept {
			if edited, err = setNeed(edited, name, nil); err != nil {
				return err
			}
		}
	}
	if string(edited) != string(text) {
		if err := renameio.WriteFile(file, edited, 0o644); err != nil {
			return err
		}
	}
	if err := writeLock(p.Dir, entries); err != nil {
		return err
	}
	return p.read()
}

// review lists the changes to the lock, and refuses those that break users within a major version.
func (p *Project) review(ctx context.Context, r *resolution, review Review) ([]Change, error) {
	var changes, breaking []Change
	after := map[string]Locked{}
	for _, l := range r.entries() {
		after[l.Name] = l
	}
	names := maps.Clone(p.lock)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, new := p.lock[name], after[name]
		if old == new {
			continue
		}
		c := Change{Name: name, From: old.Version, To: new.Version}
		if n := r.selected[name]; n != nil && n.by != nil {
			c.By = n.by.locked.title()
		}
		if old.Name != "" && new.Name != "" && old.Sum != new.Sum && review.Compare != nil {
			var err error
			if c.Breaks, err = p.compare(ctx, old, new, review); ctx.Err() != nil {
				return nil, err
			} else if err != nil {
				c.Breaks = []string{"unknown: " + err.Error()}
			}
		}
		changes = append(changes, c)
		if compatible := majorOf(old.Version) == majorOf(new.Version) && semver.Major(old.Version) != "v0"; compatible && len(c.Breaks) > 0 {
			breaking = append(breaking, c)
		}
	}
	if len(breaking) > 0 && !review.AllowBreaks {
		return nil, &BreakingError{breaking}
	}
	return changes, nil
}

// compare is what users of a library must adapt to.
func (p *Project) compare(ctx context.Context, old, new Locked, review Review) ([]string, error) {
	if err := p.fetch(ctx, old); err != nil {
		return nil, err
	}
	before, err := p.stored(old)
	if err != nil {
		return nil, err
	}
	after, err := p.stored(new)
	if err != nil {
		return nil, err
	}
	return review.Compare(before, after)
}

// Locked returns the entries of the lock by name, in order.
func (p *Project) Locked() []Locked {
	var all []Locked
	for _, name := range slices.Sorted(maps.Keys(p.lock)) {
		all = append(all, p.lock[name])
	}
	return all
}

// Replaced returns the folders that [replace] names, by library: they are used as they are.
func (p *Project) Replaced() map[string]string {
	all := map[string]string{}
	for name, need := range p.manifest.Replace {
		if IsFolder(need.Source) {
			all[name] = need.Source
		}
	}
	return all
}

// Verify fetches what is locked and not on this machine, and reads every file of every library: it returns a line for
// each that is not what the lock says. The copies in the project are verified if there are any. With allowed signers in
// the manifest, who has signed is verified again.
func (p *Project) Verify(ctx context.Context) (faults []string, err error) {
	for _, l := range p.Locked() {
		f, err := p.locked(l)
		if errors.Is(err, fs.ErrNotExist) {
			if err := p.fetch(ctx, l); err != nil {
				return nil, err
			}
			f, err = p.locked(l)
		}
		if changed, ok := errors.AsType[*ChangedError](err); ok {
			faults = append(faults, changed.Error())
			continue
		} else if err != nil {
			return nil, fmt.Errorf("library %s: %w", l.title(), err)
		}
		got, err := sumFolder(f.dir)
		if err != nil {
			return nil, fmt.Errorf("library %s: %w", l.title(), err)
		}
		for _, difference := range got.differences(f.sums) {
			faults = append(faults, fmt.Sprintf("library %s in %s: %s since %s was written; %s", f.title, f.dir, difference, LockName, f.mend))
		}
		fault, err := p.verifySigner(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("library %s: %w", l.title(), err)
		}
		if fault != "" {
			faults = append(faults, fault)
		}
	}
	return faults, nil
}

// verifySigner returns what is wrong with the signature of a library of the lock, "" if nothing is, or none is wanted.
func (p *Project) verifySigner(ctx context.Context, l Locked) (fault string, err error) {
	if p.manifest.Signers == "" || l.Commit == "" {
		return "", nil
	}
	o, err := p.origin(l.Source, p.Dir)
	if err != nil {
		return "", err
	}
	git, isGit := o.(*gitRepository)
	if !isGit {
		return fmt.Sprintf("library %s: %s has allowed signers, and who has signed %s cannot be verified; want a git repository", l.title(), ManifestName, o), nil
	}
	signer, err := git.signer(ctx, l.Version, l.Commit, p.signers(p.manifest))
	if unsigned, ok := errors.AsType[*unsignedError](err); ok {
		return fmt.Sprintf("library %s: %s", l.title(), unsigned), nil
	}
	if err == nil && signer != l.Signer {
		fault = fmt.Sprintf("library %s is signed by %s, and %s says %q", l.title(), signer, LockName, l.Signer)
	}
	return fault, err
}

// Vendor copies all libraries of the lock to a folder in the project, from which they are used from then on.
func (p *Project) Vendor(ctx context.Context) error {
	dir, err := os.MkdirTemp(p.Dir, ".mhmig-vendor-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, l := range p.Locked() {
		if err := p.fetch(ctx, l); err != nil {
			return err
		}
		all, err := copyFiles(p.store.files(l.Sum), filepath.Join(dir, l.Name))
		if err != nil {
			return err
		}
		if all.hash() != l.Sum {
			return fmt.Errorf("library %s has changed in the cache: remove %s, and run this again", l.title(), p.store.content(l.Sum))
		}
		if err := os.WriteFile(filepath.Join(dir, l.Name+".sums"), all.text(), 0o644); err != nil {
			return err
		}
	}
	target := filepath.Join(p.Dir, VendorDir)
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	return os.Rename(dir, target)
}

// Why returns a chain of libraries, from the project on, for each that needs the one called name.
func (p *Project) Why(name string) ([]string, error) {
	set, err := p.Libraries(nil, nil)
	if err != nil {
		return nil, err
	}
	manifests := map[string]Manifest{}
	for other, f := range set {
		if f, ok := f.(*files); ok && other != p.manifest.Name {
			manifests[other] = f.manifest
		}
	}
	var chains []string
	type step struct{ library, chain string }
	queue, seen := []step{{"", ManifestName}}, map[string]bool{}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if seen[at.library] {
			continue
		}
		seen[at.library] = true
		m := manifests[at.library]
		for _, other := range slices.Sorted(maps.Keys(m.Needs)) {
			chain := strings.TrimSpace(fmt.Sprintf("%s -> @%s %s", at.chain, other, m.Needs[other].Version))
			if other == name {
				chains = append(chains, chain)
			}
			queue = append(queue, step{other, at.chain + " -> " + p.lock[other].title()})
		}
	}
	if len(chains) == 0 {
		return nil, p.notNeeded(&p.manifest, name)
	}
	return chains, nil
}
