// SPDX-License-Identifier: Apache-2.0

// Package gueststate keeps saved states of guests on a host, so that a guest need not
// boot each time. A state is a file that QEMU has written and loads again; what is in
// it, and whom it fits, this package does not know.
//
//	store := gueststate.Store{Host: h, Dir: dir, Limit: 2 << 30}
//	files, err := store.Find(ctx, identity)    // ErrNone: there is none
//	…
//	saving, err := store.Begin(ctx, ledger)    // a state that is about to be saved
//	…let QEMU write saving.Files()…
//	err = saving.Keep(ctx, identity)           // from now on Find finds it
//
// A state lies in a folder of its own, which is renamed into its place when it is
// complete, so that nobody finds half of one, and two runs that save the same at once
// do not disturb each other:
//
//	DIR/KEY/state     what QEMU has written
//	DIR/KEY/disks/    the images of the guest's disks at that moment, if they are kept
//	DIR/KEY/sum       the checksums of these
//	DIR/KEY/identity  the text that the KEY is a hash of: whom the state fits
//	DIR/KEY/used      its time says when the state was last used
//	DIR/KEY/refused   instead of state, disks and sum: why such guests have no state
//	DIR/.new-…        one that is being saved
//
// The folder is the user's alone: whoever can write to it runs what he likes in the
// user's QEMU. One that belongs to somebody else is not used.
//
// A Store is a value; all methods may be called from any goroutine, and from several
// processes at once.
package gueststate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// DefaultLimit is how many bytes of states a host keeps.
const DefaultLimit = 2 << 30

// scriptTimeout is for what the host does with a state: to read or write 100 MiB.
const scriptTimeout = 60 * time.Second

var (
	// ErrNone is the error of Find when no state fits.
	ErrNone = errors.New("no saved state fits")
	// ErrDamaged is the error of Find when the state is not what was saved. It is gone
	// then.
	ErrDamaged = errors.New("the saved state is damaged")
)

// RefusedError is the error of Find when somebody has found before that such guests
// cannot have a state.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

// Dir is the folder of a user's states in a host's state_dir: the one thing that a run
// leaves there on purpose. The verdict on the host's KVM is a file there, too.
func Dir(stateDir, user string) string { return path.Join(stateDir, "mhmig-states-"+user) }

// Host is what a store needs of a host: a [host.Host].
type Host interface {
	Name() string
	Run(context.Context, host.Command) (host.Output, error)
}

// Ledger is where a state that is being saved is recorded. *ledger.Ledger is one.
type Ledger interface {
	Record(ledger.Entry) (id int, err error)
	Done(id int) error
}

// Store is the states of one folder on a host. The folder need not exist.
type Store struct {
	Host  Host
	Dir   string
	Limit int64 // bytes of all states; those that were not used for longest go first
}

// Key is the name of the state that fits an identity.
func Key(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return hex.EncodeToString(sum[:16])
}

// Exit statuses of the scripts.
const (
	exitNone    = 40
	exitDamaged = 41
	exitForeign = 42
	exitRefused = 43
)

// enter begins each script: it goes to the folder, which must be the user's own.
const enter = `
cd %s 2>/dev/null || exit 40
[ -O . ] || exit 42
`

// sumsOf is a function of the shell that prints the checksums of the state in the working
// directory, and of its disks in the order of their names. They find damage, and nobody
// else may write there: POSIX's cksum does, in a tenth of the time of sha256sum, which
// each start would wait for.
const sumsOf = `
sums() {
	cksum 2>/dev/null <state
	for disk in disks/*; do
		[ ! -e "$disk" ] || cksum <"$disk"
	done
}
`

// sizeOf is a function that prints how many bytes the state $1 has, with its disks.
const sizeOf = `
size() {
	all=0
	for part in "$1/state" "$1"/disks/*; do
		all=$((all + $(stat -c %s -- "$part" 2>/dev/null || echo 0)))
	done
	echo $all
}
`

// findState checks the state %[1]s and notes that it is used. One that is damaged is
// removed; one that another run removes meanwhile is none. It prints why one is refused.
const findState = `
cd %[1]s 2>/dev/null || exit 40
if cat refused 2>/dev/null; then touch -c used; exit 43; fi
sum=$(cat sum 2>/dev/null)
[ -n "$sum" ] && [ "$(sums)" = "$sum" ] && touch -c used && exit
[ . -ef ../%[1]s ] || exit 40
cd .. && mv -T %[1]s %[2]s && rm -rf %[2]s
exit 41
`

// Files are those of a state, as paths on the host.
type Files struct {
	State string // what QEMU loads
	Disks string // the folder of its disks' images, if they are kept: nobody may write to them
}

func filesIn(dir string) Files {
	return Files{State: path.Join(dir, "state"), Disks: path.Join(dir, "disks")}
}

// Find returns the files of the state that fits an identity, when they are what was
// saved. Else the error is ErrNone, ErrDamaged, a *RefusedError, or why the host cannot
// be asked.
func (s Store) Find(ctx context.Context, identity string) (Files, error) {
	key := Key(identity)
	if _, err := s.run(ctx, sumsOf+fmt.Sprintf(findState, key, newName("bad"))); err != nil {
		return Files{}, err
	}
	return filesIn(path.Join(s.Dir, key)), nil
}

// Drop removes the state that fits an identity. None is no error.
func (s Store) Drop(ctx context.Context, identity string) error {
	bad := newName("bad")
	_, err := s.run(ctx, fmt.Sprintf("mv -T %[1]s %[2]s 2>/dev/null && rm -rf %[2]s || exit 40", Key(identity), bad))
	if errors.Is(err, ErrNone) {
		return nil
	}
	return err
}

// Saving is a state that is being saved.
type Saving struct {
	store  Store
	ledger Ledger
	dir    string
	entry  int
}

// Begin makes room for a state. The caller ends it with Keep, Refuse or Discard.
func (s Store) Begin(ctx context.Context, l Ledger) (*Saving, error) {
	saving := &Saving{store: s, ledger: l, dir: path.Join(s.Dir, newName("new"))}
	var err error
	saving.entry, err = l.Record(ledger.Entry{Host: s.Host.Name(), Kind: ledger.Dir, Path: saving.dir})
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("mkdir -p -m 700 %[1]s && [ -O %[1]s ] || exit 42; mkdir %[2]s %[2]s/disks", shellescape.Quote(s.Dir), shellescape.Quote(saving.dir))
	if err := s.script(ctx, script); err != nil {
		return nil, errors.Join(err, saving.Discard(ctx))
	}
	return saving, nil
}

// Files are the file that QEMU is to write, and the folder for the images of the guest's
// disks. What is written there is removed with the saving, and need not be recorded.
func (s *Saving) Files() Files { return filesIn(s.dir) }

// Discard removes what was written.
func (s *Saving) Discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scriptTimeout)
	defer cancel()
	if _, err := s.store.Host.Run(ctx, host.Command{Args: []string{"rm", "-rf", "--", s.dir}}); err != nil {
		return fmt.Errorf("%s: remove %s: %w", s.store.Host.Name(), s.dir, err)
	}
	return s.ledger.Done(s.entry)
}

// keepState completes the state %[1]s, makes it durable, gives it its name %[2]s, and
// removes what is beyond the limit of %[3]d bytes, the longest unused first. Another
// run may have saved the same meanwhile; its state is as good. Folders of saves that
// nobody has finished for an hour are removed too.
const keepState = `
(cd %[1]s && chmod 600 state && sums >sum) && cat >%[1]s/identity && : >%[1]s/used && find %[1]s -exec sync -- {} + || exit
kept=
for try in 1 2 3; do # another run may remove its state between the two commands
	mv -T %[1]s %[2]s 2>/dev/null || [ -e %[2]s/sum ] && kept=yes && break
done
[ "$kept" ] || exit 1
find . -mindepth 1 -maxdepth 1 -name '.*' -mmin +60 -exec rm -rf {} +
left=%[3]d
ls -1t -- */used 2>/dev/null | while read -r used; do
	dir=${used%%/used}
	left=$((left - $(size "$dir")))
	[ $left -ge 0 ] && continue
	left=0 # what is older goes too
	mv -T "$dir" .old-"$dir"-$$ && rm -rf .old-"$dir"-$$
done
exit 0
`

// Keep completes the state, with its disks: whoever has the identity finds it from now on.
func (s *Saving) Keep(ctx context.Context, identity string) error {
	script := fmt.Sprintf(enter, shellescape.Quote(s.store.Dir)) + sumsOf + sizeOf + fmt.Sprintf(keepState, path.Base(s.dir), Key(identity), s.store.Limit)
	_, err := s.store.Host.Run(ctx, host.Command{Script: script, Stdin: strings.NewReader(identity), Timeout: scriptTimeout})
	if err != nil {
		return errors.Join(fmt.Errorf("%s: keep the saved state: %w", s.store.Host.Name(), err), s.Discard(ctx))
	}
	return s.Discard(ctx) // what another run's state has made needless; and the entry
}

// refuse puts its input and the identity %[3]s into the folder %[1]s, and gives it its
// name %[2]s, unless there is a state by now.
const refuse = `
cat >%[1]s/refused && printf %%s %[3]s >%[1]s/identity && : >%[1]s/used && rm -rf %[1]s/state %[1]s/disks || exit
mv -T %[1]s %[2]s 2>/dev/null
exit 0
`

// Refuse notes that guests with this identity cannot have a state, and why: so nobody
// boots another one in vain. What was written is removed.
func (s *Saving) Refuse(ctx context.Context, identity, why string) error {
	script := fmt.Sprintf(enter, shellescape.Quote(s.store.Dir)) + fmt.Sprintf(refuse, path.Base(s.dir), Key(identity), shellescape.Quote(identity))
	_, err := s.store.Host.Run(ctx, host.Command{Script: script, Stdin: strings.NewReader(why), Timeout: scriptTimeout})
	return errors.Join(s.store.explain(err), s.Discard(ctx))
}

// State is one of the states of a store.
type State struct {
	Key      string
	Bytes    int64 // with its disks
	Used     time.Time
	Identity string
}

// listStates prints, for each state, a line with its key, its size and when it was used,
// and its identity, each line of that behind a tab.
const listStates = `
for used in */used; do
	dir=${used%/used}
	[ -e "$dir/state" ] || continue
	echo "$dir $(size "$dir") $(stat -c %Y "$used")"
	sed 's/^/	/' "$dir/identity"
done
exit 0
`

// List returns the states of the store.
func (s Store) List(ctx context.Context) ([]State, error) {
	out, err := s.run(ctx, sizeOf+listStates)
	if errors.Is(err, ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var states []State
	for line := range strings.Lines(out) {
		if text, of := strings.CutPrefix(line, "\t"); of && len(states) > 0 {
			states[len(states)-1].Identity += text
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		size, _ := strconv.ParseInt(fields[1], 10, 64)
		used, _ := strconv.ParseInt(fields[2], 10, 64)
		states = append(states, State{Key: fields[0], Bytes: size, Used: time.Unix(used, 0)})
	}
	return states, nil
}

// Remove removes the folder with all its states, and returns those that there were.
func (s Store) Remove(ctx context.Context) ([]State, error) {
	states, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.run(ctx, fmt.Sprintf("cd / && rm -rf -- %s", shellescape.Quote(s.Dir))); err != nil && !errors.Is(err, ErrNone) {
		return nil, err
	}
	return states, nil
}

// run runs a script in the folder.
func (s Store) run(ctx context.Context, script string) (string, error) {
	out, err := s.Host.Run(ctx, host.Command{Script: fmt.Sprintf(enter, shellescape.Quote(s.Dir)) + script, Timeout: scriptTimeout})
	return string(out.Stdout), s.explain(err)
}

// script runs one that makes the folder.
func (s Store) script(ctx context.Context, script string) error {
	_, err := s.Host.Run(ctx, host.Command{Script: script, Timeout: scriptTimeout})
	return s.explain(err)
}

func (s Store) explain(err error) error {
	exit, ok := errors.AsType[*host.ExitError](err)
	switch {
	case err == nil:
		return nil
	case !ok:
	case exit.Output.Status == exitNone:
		return ErrNone
	case exit.Output.Status == exitDamaged:
		return ErrDamaged
	case exit.Output.Status == exitRefused:
		return &RefusedError{string(exit.Output.Stdout)}
	case exit.Output.Status == exitForeign:
		return fmt.Errorf("%s: %s is somebody else's folder, or cannot be made: states of guests are not kept there", s.Host.Name(), s.Dir)
	}
	return fmt.Errorf("%s: saved states in %s: %w", s.Host.Name(), s.Dir, err)
}

// newName is the name of a folder that nobody else has.
func newName(kind string) string { return "." + kind + "-" + strings.ToLower(rand.Text()[:16]) }
