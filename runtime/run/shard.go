// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
)

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
