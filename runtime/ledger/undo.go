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

// Host is the interface of a host for Undo. *host.Host implements it.
type Host interface {
	Run(ctx context.Context, c host.Command) (host.Output, error)
}

// undoTimeout limits the undoing of one entry.
const undoTimeout = 30 * time.Second

// Undone is called for each undone entry, with a line for each removed resource: none
// if everything was gone already.
type Undone func(e Entry, was []string)

// Undo removes the pending resources, the last first, and completes their entries: those
// for which wanted is true, or all if it is nil. Resources that are gone already are no
// error. reach returns the host of a name; it is called once for each. After a failure
// on a host, older entries there are not undone: a folder must not be removed before a
// process that uses it. The error has all failures, and these entries stay pending.
//
// Undo does not trust the file: it kills only processes whose command line contains a
// file of their entry, or whose environment contains the entry's mark, and removes only
// names that mhmig uses: folders "mhmig-…" and their contents, devices "mh…", tables
// "mhmig_…".
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

// UndoScript returns a script that removes the resource, or an error if mhmig must not.
// The script writes a line for each removed resource, and fails if it cannot verify
// that the resource is gone.
func (e Entry) UndoScript() (string, error) {
	if !e.ours() {
		return "", fmt.Errorf("refused: its name is not one of mhmig's")
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
		return fmt.Sprintf(deleteTable, e.Path) + host.KillMarked(FirewallVariable, e.Path+"/"), nil
	case Commands:
		return host.KillMarked(host.MarkVariable, e.Path+"/"), nil
	}
	return "", fmt.Errorf("refused: unknown kind %q", e.Kind)
}

// removeFile removes %[2]s with the flags %[1]s of rm, and then prints %[3]s.
const removeFile = `[ -e %[2]s ] || [ -L %[2]s ] || exit 0
rm %[1]s -- %[2]s && echo %[3]s`

// deleteTable deletes the table %[1]s. Without nft there is no table; if nft fails, it
// is unknown.
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

// markName matches the start of a command's mark.
var markName = regexp.MustCompile(`^mhmig-[A-Za-z0-9-]+$`)

// ours reports whether the entry's name is one that mhmig uses.
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

// inOurFolder reports whether a path is a folder of mhmig, or in one.
func inOurFolder(name string) bool {
	return path.IsAbs(name) && path.Clean(name) == name && strings.Contains(name, "/mhmig-")
}

// endProcess kills the process whose PID is in the file %[1]s, if its command line
// contains %[2]s, and all processes whose command line contains a file of the VM, such
// as a program that was started by a wrapper in place of QEMU: SIGTERM, two seconds of
// grace, SIGKILL. An aborted launch may not have written the PID yet. (A zombie's
// command line is empty. The pattern must not be in grep's own command line.)
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
