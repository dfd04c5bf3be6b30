// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
)

// findLeftovers prints what runs and checks have made: folders in %[1]s and, if it is not
// empty, in %[2]s, except those that begin with %[3]s; processes whose command line has
// the pattern %[4]s, or that a scenario has started; tables of nftables. Of processes only
// those count that are in the same lab's host, as all hosts of an embedded lab are on one
// machine. (The pattern must not be in grep's own command line.)
const findLeftovers = `
for base in %[1]s %[2]s; do
	for dir in "$base"/mhmig-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]-* "$base"/mhmig-check-*; do
		case $dir in
		*/%[3]s*) ;;
		*) [ -e "$dir" ] && printf 'folder %%s\n' "$dir" ;;
		esac
	done
done
lab() { tr '\0' '\n' 2>/dev/null <"$1" | grep -E '^MHMIG_LAB(_HOST)?=' | sort; }
own=$(lab "/proc/$$/environ")
for file in $(
	printf '%%s\n' %[4]s | grep -lsE -f - /proc/[0-9]*/cmdline
	grep -lsF MHMIG_RUN=mhmig- /proc/[0-9]*/environ
); do
	pid=${file#/proc/}
	pid=${pid%%/*}
	[ "$(lab "/proc/$pid/environ")" = "$own" ] || continue
	printf 'process %%s (%%s)\n' "$pid" "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c 1-80)"
done | sort -u
if command -v nft >/dev/null; then
	nft list tables inet 2>/dev/null | sed -n 's/^table inet \(mhmig_.*\)/table \1/p'
fi
true`

// leftovers looks for what other runs have made on the host. It cannot know whether they
// are still running. On storage that all hosts share only the first host looks.
func leftovers(ctx context.Context, m *machine) finding {
	n := &m.needs
	shared := ""
	if m == m.c.machines[0] {
		shared = n.baseDir
	}
	pattern := regexp.QuoteMeta(n.stateDir) + "/mhmig-[0-9a-f]{6}-"
	out, err := m.h.Run(ctx, host.Command{
		Script:  fmt.Sprintf(findLeftovers, shellescape.Quote(n.stateDir), quoteSome(shared), m.c.Name, shellescape.Quote(pattern)),
		Timeout: commandTimeout,
	})
	if err != nil {
		return failBy(err)
	}
	return judgeLeftovers(strings.Split(strings.TrimSpace(string(out.Stdout)), "\n"))
}

// quoteSome quotes text for a shell; "" stays nothing.
func quoteSome(text string) string {
	if text == "" {
		return ""
	}
	return shellescape.Quote(text)
}

// shownLeftovers is how many leftovers are named.
const shownLeftovers = 3

func judgeLeftovers(lines []string) finding {
	if len(lines) == 1 && lines[0] == "" {
		return ok("none")
	}
	found := strings.Join(lines[:min(len(lines), shownLeftovers)], "; ")
	if more := len(lines) - shownLeftovers; more > 0 {
		found += fmt.Sprintf("; and %d more", more)
	}
	return warn(found, "unless their run is still running: mhmig cleanup, where the run was started")
}
