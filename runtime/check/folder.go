// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"path"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/vm"
)

// imageFolder makes the check's own folder in images_base_dir, and reads how that is
// mounted.
func imageFolder(ctx context.Context, m *machine) finding {
	n := &m.needs
	if !n.hasVMs() {
		return skip("no variant has VMs")
	}
	if !path.IsAbs(n.baseDir) {
		return fail(fmt.Sprintf("param images_base_dir: got %q, want an absolute path", n.baseDir), "")
	}
	exists, err := m.h.Exists(ctx, n.baseDir)
	switch {
	case err != nil:
		return failBy(err)
	case !exists:
		return noFolder(n.baseDir, m.facts.User)
	}
	own := path.Join(n.baseDir, m.ownName())
	if err := m.record(ledger.Dir, own); err != nil {
		return failBy(err)
	}
	if err := m.h.MkdirAll(ctx, own, 0o755); err != nil {
		return fail(fmt.Sprintf("%s is not writable for %s: %v", n.baseDir, m.facts.User, err),
			asRoot("chown "+shellescape.QuoteCommand([]string{m.facts.User, n.baseDir}), m.facts.User == "root"))
	}
	m.folder = own
	out, err := m.h.Run(ctx, host.Command{
		Script:  "readlink -f -- " + shellescape.Quote(n.baseDir) + "\ncat /proc/self/mountinfo",
		Timeout: commandTimeout,
	})
	if err != nil {
		return failBy(err)
	}
	real, mountinfo, _ := strings.Cut(string(out.Stdout), "\n")
	mounted, found := mountOf(mountinfo, real)
	if !found {
		return ok("%s is writable", n.baseDir)
	}
	return judgeMount(n.baseDir, mounted, n.pageCache)
}

// noFolder is the verdict on a missing images_base_dir.
func noFolder(dir, user string) finding {
	f := fail(fmt.Sprintf("no folder %s (param images_base_dir)", dir), "mount the storage that all hosts share there, or: "+asRoot("mkdir -p "+shellescape.Quote(dir), user == "root"))
	f.fixScript = asRootScript + fmt.Sprintf("\nas_root install -d -o %s -- %s", shellescape.Quote(user), shellescape.Quote(dir))
	return f
}

// seenByOther checks that the second host sees what the first one writes.
func seenByOther(ctx context.Context, from, to *machine) finding {
	if !from.needs.shared {
		return skip("no variant shares images (param images_shared = no)")
	}
	if from.folder == "" || to.folder == "" {
		return skip("not both hosts have a folder for images")
	}
	there := path.Join(to.needs.baseDir, path.Base(from.folder))
	err := vm.CheckSharedStorage(ctx, []vm.Folder{{Host: from.h, Path: from.folder}, {Host: to.h, Path: there}})
	if err != nil {
		return fail(err.Error(), "mount one file system at images_base_dir on all hosts, such as an NFS export (with hard, without nolock)")
	}
	return ok("%s sees in %s what %s writes", to.name(), to.needs.baseDir, from.name())
}

// asRoot is a command as the host's user types it.
func asRoot(command string, root bool) string {
	if root {
		return command
	}
	return "sudo " + command
}

// asRootScript is the beginning of a script that fixes: as_root runs a command as root,
// without asking for a password.
const asRootScript = `
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n --preserve-env=DEBIAN_FRONTEND -- "$@"; fi; }`
