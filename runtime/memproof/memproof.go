// SPDX-License-Identifier: Apache-2.0

// Package memproof compares the RAM of a guest on both ends of its migration, page by
// page, while it runs on neither. QEMU's word that a migration has completed says
// nothing about the memory: QEMU has bugs that lose pages of it.
//
// Each end's QEMU writes a piece of the RAM into a file on its own host (QMP pmemsave),
// and the host hashes that. The hashes are compared here. Only where those of a piece
// differ, the hosts hash its blocks, and only blocks that differ are read and compared
// page by page:
//
//	piece   16 MiB   one hash per end, up to four at the same time while QEMU saves the next piece
//	block   64 KiB   one hash per end, of a piece that differs
//	page     4 KiB   compared here, of a block that differs
//
// A host needs sh, sha256sum, split, cat, wc, mkdir and rm, which every distribution and
// busybox have. Nothing is copied there, so that neither the host's architecture nor a
// folder without the right to execute matters. The files there are in a scratch folder of
// the run, which has 80 MiB at most.
// What is compared is all RAM and ROM in the address space of the guest's processors,
// by QEMU's own description of that (HMP info mtree -f): what QEMU hides there, such as
// RAM behind the VGA window, is not.
//
// Some pages differ by design, see [Allowed]: they are recognized by their contents.
//
// All exchanges have limits: QMP commands that of their monitor, commands on hosts
// commandTimeout. [Compare] runs both ends at the same time; the functions may be called
// from any goroutine.
package memproof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/runtime/host"
)

const (
	pageBytes  = 4 << 10
	blockBytes = 64 << 10
	pieceBytes = 16 << 20
	// enoughBlocks is how many blocks that differ are read: a migration that has lost so
	// much needs no exact count.
	enoughBlocks = 256
	// hashers is how many pieces a host hashes at the same time; one more is being saved.
	hashers = 4
	// commandTimeout limits a command that hashes, splits or reads one piece.
	commandTimeout = time.Minute
)

// Side is one of the two ends.
type Side string

// The two sides of a comparison.
const (
	Source      Side = "source"
	Destination Side = "destination"
	alone       Side = "guest" // of [Find]
)

// End is one end of a migration: a QEMU whose guest does not run, and its host.
type End interface {
	// String is the VM and its host: vm1@host1.
	fmt.Stringer
	// Execute sends QEMU a command, see [qmp.Conn.Execute]; it has its own limit.
	Execute(ctx context.Context, command string, arguments, reply any) error
	// Supports says whether QEMU has a command, see [qmp.Conn.Supports].
	Supports(ctx context.Context, path string) (bool, error)
	// Run runs a command on the host, see [host.Host.Run].
	Run(ctx context.Context, c host.Command) (host.Output, error)
	// Scratch is the path of a folder on the host that nobody else uses; what is there is
	// removed. QEMU must be able to write there.
	Scratch() string
}

// Result is what a comparison has found.
type Result struct {
	Pages   int64     // that were compared, of 4 KiB
	Differ  int64     // of those, without Allowed
	Allowed []Allowed // pages that differ by design
	First   Page      // the first of those that differ; no contents if none does
	Runs    []Span    // of the pages that differ
	AtLeast bool      // more may differ than Differ says: more than enough do
	Moved   int64     // bytes that came from the hosts: hashes, and the blocks that differ
	Took    time.Duration
}

// Page is a page that differs.
type Page struct {
	Address             uint64 // in the guest's physical memory
	Region              string // QEMU's name of the RAM, such as pc.ram
	Source, Destination []byte // its contents
}

// EndError is the error of one end: it has ended, does not answer, or cannot save or
// hash its RAM. It says nothing about the memory.
type EndError struct {
	End   string // the VM and its host
	Side  Side
	Doing string
	Err   error
}

func (e *EndError) Error() string {
	return fmt.Sprintf("memory proof: %s of %s, %s: %v", e.Side, e.End, e.Doing, e.Err)
}

func (e *EndError) Unwrap() error { return e.Err }

// Compare compares the RAM of the two ends, whose guest must run on neither. The error is
// a [*DifferenceError] or a [*LayoutError] if they have different memory, an [*EndError]
// if an end fails, or ctx's cause. The result has what was compared until then.
func Compare(ctx context.Context, source, destination End) (Result, error) {
	p := &proof{ends: [2]*end{{End: source, side: Source}, {End: destination, side: Destination}}}
	began := time.Now()
	err := p.compare(ctx)
	p.result.Took = time.Since(began)
	for _, e := range p.ends {
		p.result.Moved += e.moved.Load()
	}
	if err != nil && ctx.Err() != nil { // an end fails because it was stopped
		err = context.Cause(ctx)
	}
	if err == nil && p.result.Differ > 0 {
		err = &DifferenceError{Result: p.result, Source: source.String(), Destination: destination.String()}
	}
	return p.result, err
}

// proof is one comparison.
type proof struct {
	ends      [2]*end // source, destination
	regions   []region
	allowable []allowance
	asked     bool // allowable is known
	blocks    int  // that were read
	result    Result
}

// end is an end with its side.
type end struct {
	End
	side  Side
	moved atomic.Int64 // bytes that came from the host
}

func (p *proof) compare(ctx context.Context) error {
	if err := p.stopped(ctx); err != nil {
		return err
	}
	layouts, err := both(ctx, p, (*end).layout)
	if err != nil {
		return err
	}
	spans, other := merge(layouts[0]), merge(layouts[1])
	if !slices.Equal(spans, other) {
		return &LayoutError{Source: spans, Destination: other}
	}
	p.regions = layouts[0]
	if _, err := both(ctx, p, (*end).prepare); err != nil {
		return err
	}
	if err := p.compareAll(ctx, spans); err != nil {
		return err
	}
	if _, err := both(ctx, p, (*end).clean); err != nil {
		return err
	}
	return p.stopped(ctx)
}

// compareAll compares the hashes of all pieces, then what differs.
func (p *proof) compareAll(ctx context.Context, spans []Span) error {
	pieces := cut(spans)
	hashes, err := both(ctx, p, func(e *end, ctx context.Context) ([]string, error) { return e.hashPieces(ctx, pieces) })
	if err != nil {
		return err
	}
	for i, piece := range pieces {
		p.result.Pages += int64((piece.size() + pageBytes - 1) / pageBytes)
		if hashes[0][i] == hashes[1][i] || p.result.AtLeast {
			continue
		}
		if err := p.comparePiece(ctx, piece); err != nil {
			return err
		}
		p.result.AtLeast = p.blocks >= enoughBlocks
	}
	return nil
}

// comparePiece compares a piece of the RAM that differs.
func (p *proof) comparePiece(ctx context.Context, piece Span) error {
	blocks, err := both(ctx, p, func(e *end, ctx context.Context) ([]string, error) { return e.hashBlocks(ctx, piece) })
	if err != nil {
		return err
	}
	var differ []int
	for i := range blocks[0] {
		if blocks[0][i] != blocks[1][i] {
			differ = append(differ, i)
		}
	}
	contents, err := both(ctx, p, func(e *end, ctx context.Context) ([]byte, error) { return e.read(ctx, piece, differ) })
	if err != nil {
		return err
	}
	p.blocks += len(differ)
	for _, i := range differ {
		block := piece.block(i)
		size := block.size()
		if err := p.comparePages(ctx, block.Start, contents[0][:size], contents[1][:size]); err != nil {
			return err
		}
		contents[0], contents[1] = contents[0][size:], contents[1][size:]
	}
	return nil
}

// comparePages compares the contents of both ends at an address.
func (p *proof) comparePages(ctx context.Context, address uint64, source, destination []byte) error {
	for len(source) > 0 {
		n := min(pageBytes, len(source))
		if !bytes.Equal(source[:n], destination[:n]) {
			if err := p.differs(ctx, Page{address, nameAt(p.regions, address), source[:n], destination[:n]}); err != nil {
				return err
			}
		}
		address, source, destination = address+uint64(n), source[n:], destination[n:]
	}
	return nil
}

// differs notes a page that differs.
func (p *proof) differs(ctx context.Context, page Page) error {
	if !p.asked {
		if err := p.askAllowable(ctx); err != nil {
			return err
		}
	}
	for i, a := range p.allowable {
		if a.explains(page) {
			p.allowable = slices.Delete(p.allowable, i, i+1) // it explains one page
			p.result.Allowed = append(p.result.Allowed, Allowed{Address: page.Address, Device: a.device})
			return nil
		}
	}
	if p.result.Differ == 0 {
		page.Source, page.Destination = bytes.Clone(page.Source), bytes.Clone(page.Destination)
		p.result.First = page
	}
	p.result.Differ++
	p.result.Runs = extend(p.result.Runs, Span{page.Address, page.Address + uint64(len(page.Source))})
	return nil
}

// stopped checks that the guest runs on neither end.
func (p *proof) stopped(ctx context.Context) error {
	_, err := both(ctx, p, func(e *end, ctx context.Context) (struct{}, error) { return struct{}{}, e.stopped(ctx) })
	return err
}

// stopped checks that the guest does not run.
func (e *end) stopped(ctx context.Context) error {
	var status struct {
		Status  string `json:"status"`
		Running bool   `json:"running"`
	}
	err := e.Execute(ctx, "query-status", nil, &status)
	if err == nil && (status.Running || status.Status == "inmigrate") {
		err = fmt.Errorf("the guest is %s: its memory can be compared only while it is loaded and does not run", status.Status)
	}
	return e.fail("whether the guest runs", err)
}

// both runs f for both ends at the same time; the first error ends the other one.
func both[T any](ctx context.Context, p *proof, f func(*end, context.Context) (T, error)) (results [2]T, err error) {
	group, ctx := errgroup.WithContext(ctx)
	for i, e := range p.ends {
		group.Go(func() (err error) {
			results[i], err = f(e, ctx)
			return err
		})
	}
	return results, group.Wait()
}

// fail is the end's error of an operation, nil if err is nil.
func (e *end) fail(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &EndError{End: e.String(), Side: e.side, Doing: doing, Err: err}
}

// run runs a script in the scratch folder.
func (e *end) run(ctx context.Context, doing, script string) ([]byte, error) {
	script = "cd " + shellescape.Quote(e.Scratch()) + " && " + script
	out, err := e.Run(ctx, host.Command{Script: script, Timeout: commandTimeout})
	e.moved.Add(int64(len(out.Stdout)))
	return out.Stdout, e.fail(doing, err)
}

// layout reads where the guest's RAM is.
func (e *end) layout(ctx context.Context) ([]region, error) {
	const doing = "where its RAM is"
	var text string
	if err := e.Execute(ctx, "human-monitor-command", map[string]any{"command-line": "info mtree -f"}, &text); err != nil {
		return nil, e.fail(doing, err)
	}
	all, err := parseFlatView(text)
	return all, e.fail(doing, err)
}

func (e *end) prepare(ctx context.Context) (struct{}, error) {
	folder := shellescape.Quote(e.Scratch())
	script := "rm -rf " + folder + " && mkdir -m 700 " + folder // one of an earlier comparison that has failed may be there
	_, err := e.Run(ctx, host.Command{Script: script, Timeout: commandTimeout})
	return struct{}{}, e.fail("make a folder for pieces of RAM", err)
}

// clean removes the scratch folder. After an error of the comparison it stays, and is
// removed with the run's folder.
func (e *end) clean(ctx context.Context) (struct{}, error) {
	_, err := e.Run(ctx, host.Command{Args: []string{"rm", "-rf", "--", e.Scratch()}, Timeout: commandTimeout})
	return struct{}{}, e.fail("remove the pieces of RAM", err)
}

// save makes QEMU write a piece of the RAM into a file of the scratch folder.
func (e *end) save(ctx context.Context, piece Span, file string) error {
	arguments := map[string]any{"val": piece.Start, "size": piece.size(), "filename": e.Scratch() + "/" + file}
	return e.fail("save RAM at "+piece.String(), e.Execute(ctx, "pmemsave", arguments, nil))
}

// hashPieces returns the hashes of pieces. QEMU saves one after the other, while the host
// hashes those before.
func (e *end) hashPieces(ctx context.Context, pieces []Span) ([]string, error) {
	hashes := make([]string, len(pieces))
	hashing, ctx := errgroup.WithContext(ctx)
	hashing.SetLimit(hashers)
	var saved error
	for i, piece := range pieces {
		file := fmt.Sprintf("piece%d", i)
		if saved = e.save(ctx, piece, file); saved != nil {
			break
		}
		hashing.Go(func() (err error) { // blocks while there are as many as may be
			hashes[i], err = e.hash(ctx, piece, file)
			return err
		})
	}
	if err := hashing.Wait(); err != nil { // it has ended the saving
		return nil, err
	}
	return hashes, saved
}

// hash returns the hash of a piece that was saved, and removes the file. Its size is
// checked: QEMU does not notice a disk that is full when it closes the file.
func (e *end) hash(ctx context.Context, piece Span, file string) (string, error) {
	doing := "hash RAM at " + piece.String()
	out, err := e.run(ctx, doing, fmt.Sprintf("wc -c <%[1]s && sha256sum <%[1]s && rm %[1]s", file))
	if err != nil {
		return "", err
	}
	size, hash, _ := strings.Cut(string(out), "\n")
	if err := e.checkSize(piece, file, size); err != nil {
		return "", e.fail(doing, err)
	}
	hash, err = parseHash(hash)
	return hash, e.fail(doing, err)
}

// checkSize checks the size of a piece's file, as wc has written it.
func (e *end) checkSize(piece Span, file, size string) error {
	if size = strings.TrimSpace(size); size != strconv.FormatUint(piece.size(), 10) {
		return fmt.Errorf("QEMU saved %s bytes into %s/%s, want %d: is the disk full?", size, e.Scratch(), file, piece.size())
	}
	return nil
}

// hashBlocks saves a piece again and returns the hashes of its blocks, whose files read
// needs.
func (e *end) hashBlocks(ctx context.Context, piece Span) ([]string, error) {
	doing := "hash blocks of RAM at " + piece.String()
	if err := e.save(ctx, piece, "piece"); err != nil {
		return nil, err
	}
	out, err := e.run(ctx, doing, fmt.Sprintf("rm -f b.* && split -b %d -a 3 piece b. && sha256sum b.*", blockBytes))
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		hash, err := parseHash(line)
		if err != nil {
			return nil, e.fail(doing, err)
		}
		all = append(all, hash)
	}
	if want := piece.blocks(); len(all) != want {
		return nil, e.fail(doing, fmt.Errorf("got hashes of %d blocks, want %d", len(all), want))
	}
	return all, nil
}

// read returns the contents of blocks, one after the other.
func (e *end) read(ctx context.Context, piece Span, blocks []int) ([]byte, error) {
	doing := "read RAM that differs at " + piece.String()
	if len(blocks) == 0 {
		return nil, e.fail(doing, errors.New("the hashes of a piece differ, and those of its blocks do not: did the guest run?"))
	}
	var names []string
	want := uint64(0)
	for _, i := range blocks {
		names = append(names, "b."+suffix(i))
		want += piece.block(i).size()
	}
	out, err := e.run(ctx, doing, "cat "+strings.Join(names, " "))
	if err == nil && uint64(len(out)) != want {
		err = e.fail(doing, fmt.Errorf("got %d bytes, want %d", len(out), want))
	}
	return out, err
}

// suffix is how split names its file number i.
func suffix(i int) string {
	return string([]byte{'a' + byte(i/26/26), 'a' + byte(i/26%26), 'a' + byte(i%26)})
}

// parseHash returns the hash in a line of sha256sum.
func parseHash(line string) (string, error) {
	hash, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		return "", fmt.Errorf("sha256sum wrote %q, want a hash", strings.TrimSpace(line))
	}
	return hash, nil
}
