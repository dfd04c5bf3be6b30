// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"math/big"
	"path/filepath"
	"slices"
)

// A Diff compares the variants of two configs, which usually are two versions of one. Variants belong together when they
// have the same name; of several with one name, the first in Old and the first in New, and so on.
//
// The names of the two config files themselves do not count in the maps of names by file.
//
// It expands both configs twice. In between it remembers a digest of each variant, so its memory grows with their
// number, but not with their params. A Diff is for one goroutine.
type Diff struct {
	Old, New *Config
	Options  Options
	Limit    int // on the variants of each config; 0: MaxDiff

	unchanged int
}

// MaxDiff is how many variants of a config a [Diff] compares if it has no other limit.
const MaxDiff = 3_000_000

// A Difference is a variant that only one config has, or that has other params in the other one.
type Difference struct {
	Kind   string            `json:"kind"` // added, removed, changed
	Name   string            `json:"name"`
	Params []ParamDifference `json:"params,omitempty"` // of a changed one, sorted by key
}

// A ParamDifference is a param before and after; nil where a variant does not have it. Params that are no text, such as
// dep, are written as JSON.
type ParamDifference struct {
	Key string  `json:"key"`
	Old *string `json:"old"`
	New *string `json:"new"`
}

// The kinds of a [Difference].
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// A LimitError says that a config has more variants than a limit allows.
type LimitError struct{ Limit int }

func (e *LimitError) Error() string { return fmt.Sprintf("more than %d variants", e.Limit) }

// maxWaiting is how many changed variants may wait for their counterpart: they do when the configs' orders differ.
const maxWaiting = 100_000

// Unchanged returns how many variants are the same in both configs. It is known when All has ended.
func (d *Diff) Unchanged() int { return d.unchanged }

// All returns the differences, about in the order of the configs. An error is the last: a [*LimitError] when a config has
// too many variants, that of ctx (its cause), or what is wrong with a variant.
func (d *Diff) All(ctx context.Context) iter.Seq2[*Difference, error] {
	return func(yield func(*Difference, error) bool) {
		known, err := d.digests(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		d.second(ctx, known, yield)
	}
}

// A variantID stands for a variant's name, and how many before it have the same.
type variantID struct {
	name    [2]uint64
	earlier uint32
}

// A numbering gives variants their IDs in the order of one config.
type numbering struct {
	seeds [2]maphash.Seed
	count map[[2]uint64]uint32
}

func (n *numbering) id(name []byte) variantID {
	id := variantID{name: [2]uint64{maphash.Bytes(n.seeds[0], name), maphash.Bytes(n.seeds[1], name)}}
	id.earlier = n.count[id.name]
	n.count[id.name]++
	return id
}

// digests are what is known of the variants of the old config.
type digests struct {
	seeds [2]maphash.Seed
	of    map[variantID]digest
}

func (k *digests) numbering() *numbering { return &numbering{k.seeds, map[[2]uint64]uint32{}} }

type digest struct {
	content uint64
	outcome outcome
}

// outcome is what has become of a variant in the new config.
type outcome uint8

const (
	diffRemoved outcome = iota
	diffUnchanged
	diffChanged
)

func (d *Diff) digests(ctx context.Context) (*digests, error) {
	known := &digests{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, of: map[variantID]digest{}}
	d.unchanged = 0
	limit := d.Limit
	if limit == 0 {
		limit = MaxDiff
	}
	for _, c := range []*Config{d.Old, d.New} {
		if c.root.joined {
			continue // is counted on the way
		}
		n, err := c.Count(ctx, d.Options)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		if n.Cmp(big.NewInt(int64(limit))) > 0 {
			return nil, fmt.Errorf("%s: %w", c.name, &LimitError{limit})
		}
	}
	var line []byte
	for _, c := range []*Config{d.Old, d.New} {
		c.encode()
		encoder := encoder{anyNames: c.nameless}
		numbers, n := known.numbering(), 0
		for v, err := range c.dicts(ctx, d.Options) {
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if n++; n > limit {
				return nil, fmt.Errorf("%s: %w", c.name, &LimitError{limit})
			}
			if d.renames(c) {
				line = d.variant(c, v).AppendJSON(line[:0])
			} else {
				line = encoder.append(line[:0], v)
			}
			id, content := numbers.id(v.name), maphash.Bytes(known.seeds[0], line)
			before, ok := known.of[id]
			switch {
			case c == d.Old && !ok:
				known.of[id] = digest{content: content}
			case !ok:
			case before.content == content:
				before.outcome = diffUnchanged
				known.of[id] = before
				d.unchanged++
			default:
				before.outcome = diffChanged
				known.of[id] = before
			}
		}
	}
	return known, nil
}

// renames reports whether the file of c must be called as that of the new config in the maps of variants.
func (d *Diff) renames(c *Config) bool {
	return c == d.Old && filepath.Base(d.Old.name) != filepath.Base(d.New.name)
}

// variant returns a variant of c, with the file of the old config called as that of the new one.
func (d *Diff) variant(c *Config, from *dict) *Variant {
	v := from.variant()
	if !d.renames(c) {
		return v
	}
	older, newer := filepath.Base(d.Old.name), filepath.Base(d.New.name)
	for _, m := range []map[string]string{v.NameMapFile, v.ShortNameMapFile} {
		labels, ok := m[older]
		if _, taken := m[newer]; ok && !taken {
			delete(m, older)
			m[newer] = labels
		}
	}
	return v
}

// second expands both configs again, side by side.
func (d *Diff) second(ctx context.Context, known *digests, yield func(*Difference, error) bool) {
	nextOld, stopOld := iter.Pull2(d.Old.dicts(ctx, d.Options))
	defer stopOld()
	nextNew, stopNew := iter.Pull2(d.New.dicts(ctx, d.Options))
	defer stopNew()
	numbersOld, numbersNew := known.numbering(), known.numbering()
	waitingOld, waitingNew := map[variantID]*Variant{}, map[variantID]*Variant{}

	stepOld := func() (*Difference, bool, error) {
		from, err, ok := nextOld()
		if !ok || err != nil {
			return nil, false, err
		}
		id := numbersOld.id(from.name)
		switch known.of[id].outcome {
		case diffRemoved:
			return &Difference{Kind: Removed, Name: string(from.name)}, true, nil
		case diffChanged:
			v := d.variant(d.Old, from)
			if other := waitingNew[id]; other != nil {
				delete(waitingNew, id)
				return changed(v, other), true, nil
			}
			waitingOld[id] = v
		}
		return nil, true, nil
	}
	stepNew := func() (*Difference, bool, error) {
		from, err, ok := nextNew()
		if !ok || err != nil {
			return nil, false, err
		}
		id := numbersNew.id(from.name)
		before, ok := known.of[id]
		switch {
		case !ok:
			return &Difference{Kind: Added, Name: string(from.name)}, true, nil
		case before.outcome == diffChanged:
			v := d.variant(d.New, from)
			if other := waitingOld[id]; other != nil {
				delete(waitingOld, id)
				return changed(other, v), true, nil
			}
			waitingNew[id] = v
		}
		return nil, true, nil
	}
	moreOld, moreNew := true, true
	for moreOld || moreNew {
		// If one config is behind, only that one continues.
		behindNew := len(waitingOld) > len(waitingNew)
		behindOld := len(waitingNew) > len(waitingOld)
		for _, side := range []struct {
			step func() (*Difference, bool, error)
			more *bool
			rest bool
		}{{stepOld, &moreOld, behindNew && moreNew}, {stepNew, &moreNew, behindOld && moreOld}} {
			if !*side.more || side.rest {
				continue
			}
			var difference *Difference
			var err error
			difference, *side.more, err = side.step()
			if err == nil && len(waitingOld)+len(waitingNew) > maxWaiting {
				err = fmt.Errorf("the variants of %s and %s are in too different orders: more than %d have no counterpart yet",
					d.Old.name, d.New.name, maxWaiting)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if difference != nil && !yield(difference, nil) {
				return
			}
		}
	}
}

// changed compares the params of two variants.
func changed(older, newer *Variant) *Difference {
	d := &Difference{Kind: Changed, Name: newer.Name}
	before, after := older.texts(), newer.texts()
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		was, had := before[key]
		is, has := after[key]
		if had == has && was == is {
			continue
		}
		p := ParamDifference{Key: key}
		if had {
			p.Old = &was
		}
		if has {
			p.New = &is
		}
		d.Params = append(d.Params, p)
	}
	return d
}

// texts returns all of a variant as text.
func (v *Variant) texts() map[string]string {
	texts := map[string]string(maps.Clone(v.Params))
	texts[keyDep] = string(appendList(nil, v.Dep))
	if v.NameMapFile != nil {
		texts[keyNames] = string(appendMap(nil, v.NameMapFile))
		texts[keyShorts] = string(appendMap(nil, v.ShortNameMapFile))
	}
	return texts
}
