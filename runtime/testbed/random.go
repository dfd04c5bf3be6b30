// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"hash/fnv"
	"math/rand/v2"
)

// Random returns the source of the scenario's random numbers, always the same one. It
// depends on the bed's seed and the variant's name alone. Only one goroutine may use it
// at a time.
func (b *Bed) Random() *rand.Rand {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.random == nil {
		name := fnv.New64a()
		_, _ = name.Write([]byte(b.results.Name())) // never fails: package hash says so
		b.random = rand.New(rand.NewPCG(b.seed, name.Sum64()))
		b.log.Info("random numbers", "seed", b.seed)
	}
	return b.random
}

// RandomSeed returns the seed by which a run reproduces the scenario's random numbers;
// drawn says whether there were any.
func (b *Bed) RandomSeed() (seed uint64, drawn bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seed, b.random != nil
}
