// SPDX-License-Identifier: Apache-2.0

package project

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// node is a library at one version, as somebody needs it.
type node struct {
	locked   Locked
	manifest Manifest
	base     string // the folder of its manifest; "": it was fetched
	by       *node  // who needs it first; nil: the project
}

// chain is who needs whom, from the project to n.
func (n *node) chain() string {
	if n == nil {
		return ManifestName
	}
	return n.by.chain() + " -> " + n.locked.title()
}

// resolution chooses the versions of all libraries that a project needs.
type resolution struct {
	*Project
	root    Manifest
	refresh map[string]bool // libraries in folders whose changes are taken

	visited  map[string]*node // by name and version
	selected map[string]*node // by name: the newest version
}

// resolve returns the entries of the lock for a manifest of the project. What the lock has already is kept.
func (p *Project) resolve(ctx context.Context, root Manifest, refresh map[string]bool) (*resolution, error) {
	r := &resolution{Project: p, root: root, refresh: refresh, visited: map[string]*node{}, selected: map[string]*node{}}
	queue := []*node{nil}
	for len(queue) > 0 {
		by := queue[0]
		queue = queue[1:]
		needs, _ := r.needsOf(by)
		for _, name := range slices.Sorted(maps.Keys(needs)) {
			n, isNew, err := r.visit(ctx, name, by)
			if err != nil {
				return nil, err
			}
			if isNew {
				queue = append(queue, n)
			}
		}
	}
	return r, r.settle()
}

// needsOf are the needs of a node, and the folder of its manifest.
func (r *resolution) needsOf(n *node) (needs map[string]Need, base string) {
	needs, base = r.root.Needs, r.Dir
	if n != nil {
		needs, base = maps.Clone(n.manifest.Needs), n.base
	}
	if n != nil && r.root.Name != "" {
		delete(needs, r.root.Name) // the project itself
	}
	return needs, base
}

// want is what is used for a need: the replacement, if there is one.
func (r *resolution) want(name string, by *node) (need Need, base string, replaced bool) {
	if need, replaced = r.root.Replace[name]; replaced {
		return need, r.Dir, true
	}
	needs, base := r.needsOf(by)
	return needs[name], base, false
}

// visit reads the manifest of a library that by needs.
func (r *resolution) visit(ctx context.Context, name string, by *node) (n *node, isNew bool, err error) {
	need, base, replaced := r.want(name, by)
	fail := func(err error) (*node, bool, error) {
		return nil, false, fmt.Errorf("%s -> @%s: %w", by.chain(), name, err)
	}
	o, err := r.origin(need.Source, base)
	if err != nil {
		return fail(err)
	}
	key := name + " " + need.Version
	if n, done := r.visited[key]; done {
		return n, false, nil
	}
	n = &node{locked: Locked{Name: name, Version: need.Version, Source: o.String()}, by: by}
	if at, isFolder := o.(folder); isFolder {
		n.base = at.dir
	}
	if replaced && n.base != "" { // it is used as it is
		n.locked.Source = ""
		if n.manifest, err = readManifest(n.base); err != nil {
			return fail(err)
		}
		n.locked.Version = n.manifest.Version
	} else if err := r.read(ctx, n, o); err != nil {
		return fail(err)
	}
	if n.manifest.Name != name {
		return fail(fmt.Errorf("the library at %s calls itself %q in its %s", o, n.manifest.Name, ManifestName))
	}
	r.visited[key] = n
	if other := r.selected[name]; other == nil || semver.Compare(n.locked.Version, other.locked.Version) > 0 {
		r.selected[name] = n
	}
	return n, true, nil
}

// read finds out the commit, the content and the manifest of a library, from the lock and the cache if possible.
func (r *resolution) read(ctx context.Context, n *node, o origin) error {
	old, known := r.lock[n.locked.Name]
	if n.base == "" {
		known = known && old.Version == n.locked.Version
	} else {
		known = known && satisfies(old.Version, n.locked.Version) && !r.refresh[old.Name]
	}
	known = known && old.Source == n.locked.Source
	if known {
		n.locked = old
	} else {
		version, commit, err := o.find(ctx, n.locked.Version)
		if err != nil {
			return err
		}
		n.locked.Version, n.locked.Commit = version, commit
	}
	if err := r.checkSigner(ctx, n, o); err != nil {
		return err
	}
	if !known {
		dir, release, err := o.unpack(ctx, n.locked.Version, n.locked.Commit)
		if err != nil {
			return err
		}
		defer release()
		if n.locked.Sum, err = r.store.put(dir); err != nil {
			return fmt.Errorf("%s: %w", o, err)
		}
	} else if err := r.Project.fetch(ctx, n.locked); err != nil {
		return err
	}
	f, err := r.stored(n.locked)
	if err != nil {
		return err
	}
	text, err := fs.ReadFile(f, ManifestName)
	if err != nil {
		return fmt.Errorf("the library at %s has no %s: %w", o, ManifestName, err)
	}
	if n.manifest, err = parseManifest(text, o.String()+"//"+ManifestName); err != nil {
		return err
	}
	if v := n.locked.Version; !module.IsPseudoVersion(v) && n.manifest.Version != v {
		return fmt.Errorf("the %s of %s at %s says that this is version %s", ManifestName, o, v, n.manifest.Version)
	}
	return nil
}

// checkSigner finds out who has signed a version from a git repository, if the project has allowed signers.
func (r *resolution) checkSigner(ctx context.Context, n *node, o origin) (err error) {
	git, isGit := o.(*gitRepository)
	_, isOCI := o.(*ociRepository)
	switch {
	case isOCI && r.root.Signers != "":
		return fmt.Errorf("%s has allowed signers, and who has signed %s cannot be verified; want a git repository", ManifestName, o)
	case !isGit || r.root.Signers == "":
		n.locked.Signer = ""
	case n.locked.Signer == "":
		n.locked.Signer, err = git.signer(ctx, n.locked.Version, n.locked.Commit, r.signers(r.root))
	}
	return err
}

// signers is the file of allowed signers that a manifest of the project names.
func (p *Project) signers(m Manifest) string {
	file := filepath.FromSlash(m.Signers)
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(p.Dir, file)
}

// stored is a library in the cache, verified.
func (p *Project) stored(l Locked) (*files, error) {
	f := &files{title: l.title(), dir: p.store.files(l.Sum), mend: fmt.Sprintf("remove %s, and it is fetched again", p.store.content(l.Sum))}
	var err error
	f.sums, err = p.store.sums(l.Sum)
	return f, err
}

// settle drops the libraries that only versions need which were not selected, and looks for conflicts.
func (r *resolution) settle() error {
	reached := map[string]*node{}
	queue := []*node{nil}
	for len(queue) > 0 {
		by := queue[0]
		queue = queue[1:]
		needs, _ := r.needsOf(by)
		for _, name := range slices.Sorted(maps.Keys(needs)) {
			need, base, replaced := r.want(name, by)
			chosen := r.selected[name]
			o, err := r.origin(need.Source, base)
			if err != nil {
				return err
			}
			asked := &node{locked: Locked{Name: name, Version: need.Version}, by: by}
			if need.Version == "" {
				asked.locked.Version = chosen.locked.Version
			}
			switch {
			case replaced:
			case chosen.locked.Source != o.String():
				return r.conflict(asked, chosen, "comes from "+o.String(), "comes from "+chosen.locked.Source)
			case majorOf(chosen.locked.Version) != majorOf(asked.locked.Version):
				return r.conflict(asked, chosen, "needs a "+majorOf(asked.locked.Version), "needs a "+majorOf(chosen.locked.Version))
			}
			if reached[name] == nil {
				reached[name] = chosen
				queue = append(queue, chosen)
			}
		}
	}
	r.selected = reached
	return nil
}

// conflict is the error of two needs that no version can satisfy.
func (r *resolution) conflict(a, b *node, whyA, whyB string) error {
	width := max(len(a.chain()), len(b.chain()))
	line := func(n *node, why string) string {
		return fmt.Sprintf("\n  %s%s  %s", n.chain(), strings.Repeat(" ", width-len(n.chain())), why)
	}
	return fmt.Errorf("two versions of @%s are needed that exclude each other:%s%s\n[replace] in %s can name the one to use",
		a.locked.Name, line(a, whyA), line(b, whyB), ManifestName)
}

// entries are the entries of the lock.
func (r *resolution) entries() []Locked {
	var all []Locked
	for _, n := range r.selected {
		if n.locked.Source != "" {
			all = append(all, n.locked)
		}
	}
	slices.SortFunc(all, func(a, b Locked) int { return strings.Compare(a.Name, b.Name) })
	return all
}
