// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
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

// Undo removes what is pending, the last first, and strikes it out: all for which
// wanted is true, and all if it is nil. What is gone already is fine. Reach returns the host of that name; it is asked once
// for each. After a failure on a host, what is older there is left alone: a
// folder must not go before the process that lives in it. The error has all
// failures, and what is left stays pending.
//
// Undo trusts the file no further than it must: it kills only a process whose
// command line names its entry's folder, and removes only what has a name as
// mhmig gives it: folders "mhmig-…" and what is in them, devices "mh…", tables
// "mhmig_…".
func (l *Ledger) Undo(ctx context.Context, wanted func(Entry) bool, reach func(ctx context.Context, name string) (Host, error), log *slog.Logger) error {
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
		if err := l.undo(ctx, h, e); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", e, err))
			hosts[e.Host] = nil
			continue
		}
		log.Info("undone", "host", e.Host, "kind", string(e.Kind), "path", e.Path)
	}
	return errors.Join(errs...)
}

func (l *Ledger) undo(ctx context.Context, h Host, e Entry) error {
	script, err := e.undoScript()
	if err != nil {
		return err
	}
	if _, err := h.Run(ctx, host.Command{Script: script, Timeout: undoTimeout}); err != nil {
		return err
	}
	return l.Done(e.ID)
}

// undoScript returns what removes the thing, or why mhmig will not.
func (e Entry) undoScript() (string, error) {
	if !e.ours() {
		return "", fmt.Errorf("refused: it has no name as mhmig gives it")
	}
	switch quoted := shellescape.Quote(e.Path); e.Kind {
	case Process:
		return fmt.Sprintf(endProcess, shellescape.Quote(e.PIDFile), quoted), nil
	case File:
		return "rm -f -- " + quoted, nil
	case Dir:
		return "rm -rf -- " + quoted, nil
	case Netdev:
		return fmt.Sprintf("! ip link show dev %[1]s >/dev/null 2>&1 || ip link delete dev %[1]s", quoted), nil
	case Firewall:
		return fmt.Sprintf("! nft list table inet %[1]s >/dev/null 2>&1 || nft delete table inet %[1]s", quoted), nil
	}
	return "", fmt.Errorf("refused: mhmig knows no kind %q", e.Kind)
}

// ours reports whether the entry's name is one that mhmig gives.
func (e Entry) ours() bool {
	switch e.Kind {
	case Netdev:
		return strings.HasPrefix(e.Path, "mh") && !strings.Contains(e.Path, "/")
	case Firewall:
		return strings.HasPrefix(e.Path, "mhmig_")
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
// names %[2]s: TERM, two seconds of grace, KILL. (A zombie's is empty.)
const endProcess = `
pid=$(cat %[1]s 2>/dev/null)
case $pid in '' | *[!0-9]*) exit 0 ;; esac
alive() { tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -e %[2]s; } 2>/dev/null
polls=0
while alive; do
	[ $polls -eq 0 ] && kill -TERM "$pid"
	[ $polls -ge 40 ] && kill -KILL "$pid"
	[ $polls -ge 80 ] && echo "process $pid is still there" >&2 && exit 1
	polls=$((polls + 1))
	sleep 0.05
done`
