// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
)

// Host is what Undo needs of a host. *host.Host is one.
type Host interface {
	Run(ctx context.Context, c host.Command) (host.Output, error)
}

// undoTimeout limits the undoing of one entry.
const undoTimeout = 30 * time.Second

// Undone is called with each entry that was undone, and a line for each thing that
// was there until then: none when all was gone already.
type Undone func(e Entry, was []string)

// Undo removes what is pending, the last first, and strikes it out: all for which
// wanted is true, and all if it is nil. What is gone already is fine. Reach returns the host of that name; it is asked once
// for each. After a failure on a host, what is older there is left alone: a
// folder must not go before the process that lives in it. The error has all
// failures, and what is left stays pending.
//
// Undo trusts the file no further than it must: it kills only processes whose
// command line names a file of their entry's, or whose environment names the
// entry, and removes only what has a name as mhmig gives it: folders "mhmig-…" and
// what is in them, devices "mh…", tables "mhmig_…".
func (l *Ledger) Undo(ctx context.Context, wanted func(Entry) bool, reach func(ctx context.Context, name string) (Host, error), undone Undone) error {
	var errs []error
	hosts := map[string]Host{} // nil: given up
	for _, e := range l.Pending() {
		if wanted != nil && !wanted(e) {
			continue
		}
		h, asked := hosts[e.Host]
		if !asked {
			var err error
			if h, err = reach(ctx, e.Host); err != nil {
				errs = append(errs, fmt.Errorf("clean up %s: %w", e.Host, err))
				h = nil
			}
			hosts[e.Host] = h
		}
		if h == nil {
			continue
		}
		removed, err := l.undo(ctx, h, e)
		if err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", e, err))
			hosts[e.Host] = nil
			continue
		}
		undone(e, removed)
	}
	return errors.Join(errs...)
}

func (l *Ledger) undo(ctx context.Context, h Host, e Entry) (removed []string, err error) {
	script, err := e.UndoScript()
	if err != nil {
		return nil, err
	}
	out, err := h.Run(ctx, host.Command{Script: script, Timeout: undoTimeout})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out.Stdout)) {
		removed = append(removed, strings.TrimSuffix(line, "\n"))
	}
	return removed, l.Done(e.ID)
}

// UndoScript returns what removes the thing, or why mhmig will not. The script
// writes a line for each thing that it has removed, and fails if it cannot tell
// that the thing is gone.
func (e Entry) UndoScript() (string, error) {
	if !e.ours() {
		return "", fmt.Errorf("refused: it has no name as mhmig gives it")
	}
	switch quoted := shellescape.Quote(e.Path); e.Kind {
	case Process:
		return fmt.Sprintf(endProcess, shellescape.Quote(e.PIDFile), quoted), nil
	case File:
		return fmt.Sprintf(removeFile, "-f", quoted, shellescape.Quote("file "+e.Path)), nil
	case Dir:
		return fmt.Sprintf(removeFile, "-rf", quoted, shellescape.Quote("folder "+e.Path)), nil
	case Netdev:
		return fmt.Sprintf(`ip link show dev %[1]s >/dev/null 2>&1 || exit 0
ip link delete dev %[1]s && echo %[2]s`, quoted, shellescape.Quote("network device "+e.Path)), nil
	case Firewall:
		return fmt.Sprintf(deleteTable, e.Path) + host.EndMarked(FirewallVariable, e.Path+"/"), nil
	case Commands:
		return host.EndMarked(host.MarkVariable, e.Path+"/"), nil
	}
	return "", fmt.Errorf("refused: mhmig knows no kind %q", e.Kind)
}

// removeFile removes %[2]s with the flags %[1]s of rm, and then says %[3]s.
const removeFile = `[ -e %[2]s ] || [ -L %[2]s ] || exit 0
rm %[1]s -- %[2]s && echo %[3]s`

// deleteTable deletes the table %[1]s. Where there is no nft there is no table;
// where it does not answer nobody knows.
const deleteTable = `
if command -v nft >/dev/null; then
	tables=$(nft list tables inet) || exit 1
	if printf '%%s\n' "$tables" | grep -qxF 'table inet %[1]s'; then
		nft delete table inet %[1]s || exit 1
		echo 'table %[1]s of nftables'
	fi
fi
`

var tableName = regexp.MustCompile(`^mhmig_[A-Za-z0-9_]+$`)

// markName is what marks of commands begin with.
var markName = regexp.MustCompile(`^mhmig-[A-Za-z0-9-]+$`)

// ours reports whether the entry's name is one that mhmig gives.
func (e Entry) ours() bool {
	switch e.Kind {
	case Netdev:
		return strings.HasPrefix(e.Path, "mh") && !strings.Contains(e.Path, "/")
	case Firewall:
		return tableName.MatchString(e.Path)
	case Commands:
		return markName.MatchString(e.Path)
	case Process:
		return inOurFolder(e.Path) && inOurFolder(e.PIDFile)
	}
	return inOurFolder(e.Path)
}

// inOurFolder reports whether a path is a folder of mhmig's, or in one.
func inOurFolder(name string) bool {
	return path.IsAbs(name) && path.Clean(name) == name && strings.Contains(name, "/mhmig-")
}

// endProcess ends the process whose id is in the file %[1]s, if its command line
// names %[2]s, and all whose command line names a file of the VM's, as the program
// does that a wrapper in place of QEMU has started: TERM, two seconds of grace,
// KILL. A launch that was cut short may not have got to the id yet. (A zombie's
// command line is empty. What is looked for must not stand in grep's own.)
const endProcess = `
file=%[1]s
stem=${file%%.pid}
polls=0
while [ -e "$stem.sh" ] && [ ! -s "$file" ] && [ ! -e "$stem.exit" ] && [ $polls -lt 20 ]; do
	polls=$((polls + 1))
	sleep 0.05
done
look() {
	pids=
	for cmdline in $(printf '%%s\n' "$stem.qmp" | grep -lsF -f - /proc/[0-9]*/cmdline); do
		pid=${cmdline#/proc/}
		pids="$pids ${pid%%/cmdline}"
	done
	pid=$(cat "$file" 2>/dev/null)
	case $pid in
	'' | *[!0-9]*) ;;
	*) { tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF -e %[2]s; } 2>/dev/null && pids="$pids $pid" ;;
	esac
	[ -n "$pids" ]
}
look || exit 0
for pid in $(printf '%%s\n' $pids | sort -u); do
	printf 'process %%s (%%s)\n' "$pid" "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c 1-80)"
done
kill -TERM $pids 2>/dev/null
kill -CONT $pids 2>/dev/null
seconds() { read -r up _ </proc/uptime; echo "${up%%%%.*}"; }
begun=$(seconds)
while look; do
	passed=$(($(seconds) - begun))
	[ $passed -gt 2 ] && kill -KILL $pids 2>/dev/null
	[ $passed -gt 20 ] && echo "still there: process$pids" >&2 && exit 1
	sleep 0.05
done`
