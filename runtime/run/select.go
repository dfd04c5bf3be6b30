// SPDX-License-Identifier: Apache-2.0

package run

import (
	"iter"
	"math/rand/v2"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// Sequence is variants in the order in which they run.
type Sequence = iter.Seq2[*cartesian.Variant, error]

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
