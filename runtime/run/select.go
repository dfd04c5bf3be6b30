// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// Sequence is variants in the order in which they run.
type Sequence = iter.Seq2[*cartesian.Variant, error]

// Shard is one of several parts of a run's variants, for example one for each of several
// machines. The shard of a variant depends on its name only: it does not change when
// other variants are added or removed.
type Shard struct{ Index, Count int }

// ParseShard reads "i/n", with i from 1 to n.
func ParseShard(text string) (Shard, error) {
	first, second, _ := strings.Cut(text, "/")
	i, errI := strconv.Atoi(first)
	n, errN := strconv.Atoi(second)
	if errI != nil || errN != nil || i < 1 || i > n {
		return Shard{}, fmt.Errorf("got %q, want I/N, such as 2/3 for the second of three parts", text)
	}
	return Shard{i, n}, nil
}

// Of returns the variants of the shard. A variant that depends on others is in the shard
// of the first of them.
func (s Shard) Of(variants Sequence) Sequence {
	return func(yield func(*cartesian.Variant, error) bool) {
		wanted, err := dependencies(variants)
		if err != nil {
			yield(nil, err)
			return
		}
		for v, err := range variants {
			if err != nil {
				yield(nil, err)
				return
			}
			key := v.Name
			for _, dependency := range v.Dep {
				if root := wanted[dependency]; root != "" {
					key = root
					break
				}
			}
			for dependency, root := range wanted {
				if root == "" && satisfies(v.Name, dependency) {
					wanted[dependency] = key
				}
			}
			if s.has(key) && !yield(v, nil) {
				return
			}
		}
	}
}

func (s Shard) has(key string) bool {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	return h.Sum64()%uint64(s.Count) == uint64(s.Index-1)
}

// dependencies returns all dependencies of variants, as keys.
func dependencies(variants Sequence) (map[string]string, error) {
	all := map[string]string{}
	for v, err := range variants {
		if err != nil {
			return nil, err
		}
		for _, dependency := range v.Dep {
			all[dependency] = ""
		}
	}
	return all, nil
}

// Unmet returns a message for each dependency that no earlier variant satisfies, which is
// ignored.
func Unmet(variants Sequence) ([]string, error) {
	wanted, err := dependencies(variants)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	var notes []string
	reported := map[string]bool{}
	for v, err := range variants {
		if err != nil {
			return nil, err
		}
		for _, dependency := range v.Dep {
			if wanted[dependency] == "" && !reported[dependency] {
				reported[dependency] = true
				notes = append(notes, fmt.Sprintf("%s depends on %s, but no earlier variant has that name: the dependency is ignored", v.ShortName, dependency))
			}
		}
		for dependency := range wanted {
			if satisfies(v.Name, dependency) {
				wanted[dependency] = v.Name
			}
		}
	}
	return notes, nil
}

// Only returns the variants with these names.
func Only(variants Sequence, names map[string]bool) Sequence {
	return func(yield func(*cartesian.Variant, error) bool) {
		for v, err := range variants {
			if (err != nil || names[v.Name]) && !yield(v, err) {
				return
			}
		}
	}
}

// Shuffle returns all variants in a random order by seed, but each after those that it
// depends on. It holds all of them in memory.
func Shuffle(variants Sequence, seed uint64) Sequence {
	return func(yield func(*cartesian.Variant, error) bool) {
		var all []*cartesian.Variant
		for v, err := range variants {
			if err != nil {
				yield(nil, err)
				return
			}
			all = append(all, v)
		}
		index := map[*cartesian.Variant]int{}
		for i, v := range all {
			index[v] = i
		}
		order := append([]*cartesian.Variant(nil), all...)
		random := rand.New(rand.NewPCG(seed, 0))
		random.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
		done := map[*cartesian.Variant]bool{}
		var visit func(v *cartesian.Variant) bool
		visit = func(v *cartesian.Variant) bool {
			if done[v] {
				return true
			}
			done[v] = true
			for _, dependency := range v.Dep {
				for _, other := range all[:index[v]] { // dependencies are earlier variants
					if satisfies(other.Name, dependency) && !visit(other) {
						return false
					}
				}
			}
			return yield(v, nil)
		}
		for _, v := range order {
			if !visit(v) {
				return
			}
		}
	}
}
