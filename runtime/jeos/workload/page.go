// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// pageSize is what a guest's memory is moved by, and a multiple of every disk
// sector.
const pageSize = 4096

// A page holds in little-endian words of 8 bytes:
//
//	0     magic
//	1     the seed of this work
//	2     the page's number
//	3     its generation
//	4...  each the one before plus an odd step; the first from words 1 to 3
//
// So each byte is known beforehand, every page of every generation is
// different, and a damaged one still tells what it was.
const (
	magic     = 0x6b726f77676d686d // "mhmgwork"
	step      = 0x9e3779b97f4a7c15
	wordSize  = 8
	headWords = 4
)

func fill(page []byte, seed, number, generation uint64) {
	head := [headWords]uint64{magic, seed, number, generation}
	for i, word := range head {
		binary.LittleEndian.PutUint64(page[i*wordSize:], word)
	}
	word := firstWord(seed, number, generation)
	for at := headWords * wordSize; at < pageSize; at += wordSize {
		binary.LittleEndian.PutUint64(page[at:], word)
		word += step
	}
}

func firstWord(seed, number, generation uint64) uint64 {
	word := seed
	for _, n := range [...]uint64{number, generation} {
		word = (word ^ n) * step
		word ^= word >> 29
	}
	return word
}

// verify returns what is wrong with a page, or "".
func verify(page []byte, seed, number, generation uint64) string {
	head := [headWords]uint64{magic, seed, number, generation}
	for i, want := range head {
		if binary.LittleEndian.Uint64(page[i*wordSize:]) != want {
			return diagnose(page, seed, number, generation)
		}
	}
	word := firstWord(seed, number, generation)
	for at := headWords * wordSize; at < pageSize; at += wordSize {
		if binary.LittleEndian.Uint64(page[at:]) != word {
			return diagnose(page, seed, number, generation)
		}
		word += step
	}
	return ""
}

// diagnose says in words what a page that is not as expected holds.
func diagnose(page []byte, seed, number, generation uint64) string {
	var whole [pageSize]byte
	if bytes.Equal(page, whole[:]) {
		return "all zeros"
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(page[i*wordSize:]) }
	// Is it a page of ours, if not the right one?
	fill(whole[:], word(1), word(2), word(3))
	if bytes.Equal(page, whole[:]) {
		switch {
		case word(1) != seed:
			return "a page of another run of the workload"
		case word(2) != number:
			return fmt.Sprintf("page %d, generation %d", word(2), word(3))
		default:
			return fmt.Sprintf("generation %d", word(3))
		}
	}
	fill(whole[:], seed, number, generation)
	first, bits := -1, 0
	for i := range page {
		for diff := page[i] ^ whole[i]; diff != 0; diff &= diff - 1 {
			bits++
		}
		if first < 0 && page[i] != whole[i] {
			first = i
		}
	}
	return fmt.Sprintf("%d wrong bits, from byte %d: %#02x instead of %#02x", bits, first, page[first], whole[first])
}
