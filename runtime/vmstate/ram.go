// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"fmt"
	"slices"
)

// ramName is the name of the section with the guest's RAM.
const ramName = "ram"

// ramVersion is that of its format.
const ramVersion = 4

// The flags of a page's address, in the bits below a page's size.
const (
	ramZero       = 0x02 // filled with one byte
	ramMemSize    = 0x04 // no page: the list of blocks
	ramPage       = 0x08
	ramEOS        = 0x10 // no page: the end of this part
	ramContinue   = 0x20 // in the block of the page before
	ramXBZRLE     = 0x40
	ramCompressed = 0x100
	ramFlush      = 0x200 // no page: multifd's channels were flushed
)

// The capabilities that add to the list of blocks.
const (
	ignoreShared = "x-ignore-shared"
	mappedRAM    = "mapped-ram"
)

// ram reads a part of the guest's RAM: words with an address and flags, with what
// belongs to each behind it.
//
//	total|MEM_SIZE   for each block: name, size (64 bits)
//	address|ZERO     block's name, unless CONTINUE; the byte
//	address|PAGE     block's name, unless CONTINUE; the page
//	address|XBZRLE   block's name, unless CONTINUE; 1 byte, length (16 bits), the difference
//	EOS
func (w *walker) ram(s *Section) {
	if s.Version != ramVersion {
		w.fault(s.Offset, "%s has version %d, want %d", w.in, s.Version, ramVersion)
	}
	mask := uint64(w.stream.PageSize - 1)
	for w.err == nil {
		at := w.at
		word := w.uint64()
		flags := word & mask
		switch flags &^ ramContinue {
		case ramEOS:
			return
		case ramMemSize:
			w.blockList(at, word&^mask)
		case ramFlush:
		case ramZero:
			w.pageBlock(at, flags)
			w.uint8()
			w.count(func(b *Block) { b.Zeros++ })
		case ramPage:
			w.pageBlock(at, flags)
			w.skip(w.stream.PageSize)
			w.count(func(b *Block) { b.Pages++ })
		case ramXBZRLE:
			w.pageBlock(at, flags)
			w.uint8()
			w.skip(int64(w.uint16()))
			w.count(func(b *Block) { b.Pages++ })
		case ramCompressed:
			w.pageBlock(at, flags)
			w.skip(int64(w.uint32()))
			w.count(func(b *Block) { b.Pages++ })
		default:
			w.fault(at, "%s: the flags of a page: got 0x%x", w.in, flags)
		}
	}
}

// count counts a page of the block, once it was read.
func (w *walker) count(add func(*Block)) {
	if w.err == nil {
		add(w.block)
	}
}

// pageBlock sets the block of a page.
func (w *walker) pageBlock(at int64, flags uint64) {
	if flags&ramContinue == 0 {
		name := w.name()
		if w.err != nil {
			return
		}
		if w.block = w.blocks[name]; w.block == nil {
			w.fault(at, "%s: a page of the block %q, which is not in the list of blocks", w.in, name)
		}
		return
	}
	if w.block == nil {
		w.fault(at, "%s: the first page continues a block", w.in)
	}
}

// blockList reads the list of blocks, which together have total bytes.
func (w *walker) blockList(at int64, total uint64) {
	for left := total; left > 0 && w.err == nil; {
		b := &Block{Name: w.name()}
		size := w.uint64()
		switch {
		case w.err != nil:
			return
		case size > left:
			w.fault(at, "%s: the block %q has %d bytes, but all blocks together have %d", w.in, b.Name, size, total)
			return
		case w.blocks[b.Name] != nil:
			w.fault(at, "%s: the list of blocks has %q twice", w.in, b.Name)
			return
		case len(w.blocks) == maxBlocks:
			w.fault(at, "%s: more than %d blocks", w.in, maxBlocks)
			return
		}
		left -= size
		b.Size = int64(size & (1<<63 - 1))
		w.blocks[b.Name] = b
		w.stream.Blocks = append(w.stream.Blocks, b)
		if slices.Contains(w.stream.Capabilities, ignoreShared) {
			w.uint64() // its address
		}
		if slices.Contains(w.stream.Capabilities, mappedRAM) {
			w.mappedBlock(b)
		}
	}
}

// mappedBlock reads what a file of mapped-ram has behind a block's size: version (32
// bits), page size, offset of a bitmap of the pages that are there, offset of the pages.
// Then the pages follow, each at its own place.
func (w *walker) mappedBlock(b *Block) {
	w.in = fmt.Sprintf("the block %q of a mapped-ram file", b.Name)
	at := w.at
	if version := w.uint32(); version != 1 {
		w.fault(at, "%s: version %d, want 1", w.in, version)
	}
	w.uint64() // page size
	w.uint64() // offset of the bitmap
	pages := w.uint64()
	if w.err != nil {
		return
	}
	if pages > uint64(w.end) || int64(pages) < w.at || b.Size > w.end-int64(pages) {
		w.fault(at, "%s: its pages are said to be at offset %d, up to %d of %d", w.in, pages, plus(int64(pages&(1<<63-1)), b.Size), w.end)
		return
	}
	w.skip(int64(pages) + b.Size - w.at)
}
